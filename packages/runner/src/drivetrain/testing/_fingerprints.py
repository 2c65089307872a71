"""Small texts that are equal where, and only where, two values are."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SHOWN_CHARS = 60
_DEPTH = 6
_SCALARS = (type(None), bool, int, float, complex, str, bytes, np.generic)


def flatten(value: Any, path: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, str]]:
    """Dotted paths of all leaves of ``value``, each with the fingerprint of what is there."""
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        content = _content_of(value)
        items = None if content is None else content.items()
    if items is None or depth == 0:
        yield path, fingerprint(value)
        return
    empty = True
    for key, item in items:
        empty = False
        yield from flatten(item, f"{path}.{key}" if path else str(key), depth - 1)
    if empty:
        yield path, "empty"


def fingerprint(value: Any) -> str:
    """Text of one value: itself if it is short, else its form and a checksum of its bytes."""
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)} {_checksum(value.tobytes())}"
    if isinstance(value, (np.random.Generator, np.random.RandomState)):
        old = isinstance(value, np.random.RandomState)
        state = value.get_state() if old else value.bit_generator.state
        return f"generator at {_checksum(repr(state).encode())}"
    if isinstance(value, random.Random):
        return f"generator at {_checksum(repr(value.getstate()).encode())}"
    if isinstance(value, torch.Generator):
        return f"generator at {_checksum(value.get_state().numpy().tobytes())}"
    if isinstance(value, Set):
        return fingerprint(sorted(map(repr, value)))
    if value is None or isinstance(
        value, (bool, int, float, complex, str, bytes, np.generic, list)
    ):
        text = repr(value)
        if len(text) > _SHOWN_CHARS:
            text = f"{text[:_SHOWN_CHARS]}… {_checksum(text.encode())}"
        return text
    return type(value).__qualname__


def is_generator(value: Any) -> bool:
    """Whether ``value`` draws random numbers."""
    kinds = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)
    return isinstance(value, kinds)


def is_plain(value: Any, depth: int = 3) -> bool:
    """Whether ``value`` is data, a container of data, or a generator: what a state is made of."""
    if isinstance(value, _SCALARS):
        return True
    if isinstance(value, (Tensor, np.ndarray)) or is_generator(value):
        return True
    if depth == 0:
        return False
    if isinstance(value, Mapping):
        return all(is_plain(item, depth - 1) for item in value.values())
    if isinstance(value, (Sequence, Set)) or type(value).__name__ == "deque":
        return len(value) <= 100_000 and all(is_plain(item, depth - 1) for item in value)
    return False


def _content_of(value: Any) -> dict[str, Any] | None:
    """Fields of a data element or another plain object of the user's; None for a leaf."""
    if isinstance(value, (Tensor, np.ndarray, np.generic, str, bytes)) or is_generator(value):
        return None
    if callable(getattr(value, "all_items", None)):  # a data element
        return dict(value.all_items())
    fields = getattr(value, "__dict__", None)
    return dict(fields) if fields and not isinstance(value, type) and not callable(value) else None


def _of_tensor(tensor: Tensor) -> str:
    form = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
    local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    if local.is_sparse or local.is_quantized:
        return f"{form} {_checksum(repr(local).encode())}"
    plain = local.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    if tensor.numel() == 1 and not plain.is_complex():
        return f"{form} {plain.item()!r}"
    return f"{form} {_checksum(plain.view(torch.uint8).numpy().tobytes())}"


def _checksum(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"
