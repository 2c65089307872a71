"""Weights in the safetensors format, for other programs."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch

from drivetrain.checkpoint._errors import (
    CheckpointCorruptError,
    MissingLibraryError,
    NotPlainDataError,
)
from drivetrain.fileio import atomic_write


def is_safetensors(path: str) -> bool:
    """Whether a file's name says that it is in this format."""
    return path.endswith(".safetensors")


def export_safetensors(
    state_dict: Mapping[str, torch.Tensor],
    filename: str | os.PathLike[str],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write weights as a ``.safetensors`` file: whole, or not at all.

    Tensors that share memory are written once each, as the format has no sharing.

    Args:
        state_dict: Names and tensors, as ``module.state_dict()`` gives them.
        filename: The file; its folder must exist.
        metadata: More about them; values that are no strings are written as JSON.

    Raises:
        NotPlainDataError: If a value is no tensor.
        MissingLibraryError: If ``safetensors`` is not installed.
    """
    save = _library().torch.save
    others = [name for name, value in state_dict.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise NotPlainDataError(f"safetensors hold tensors only; these are none: {others[:10]}")
    tensors = {name: value.detach().cpu().contiguous() for name, value in state_dict.items()}
    content = save(_unshared(tensors), {key: _text(item) for key, item in (metadata or {}).items()})
    with atomic_write(filename) as file:
        file.write(content)


def load_safetensors(path: str, map_location: Any = None) -> OrderedDict[str, torch.Tensor]:
    """Read all tensors of a ``.safetensors`` file.

    Args:
        path: The file.
        map_location: A device; ``"meta"`` reads names, shapes and types only.

    Raises:
        CheckpointCorruptError: If it is cut, or in another format.
        MissingLibraryError: If ``safetensors`` is not installed.
    """
    library = _library()
    device = str(map_location) if isinstance(map_location, (str, torch.device)) else "cpu"
    try:
        if device == "meta":
            return _outline(library, path)
        return OrderedDict(library.torch.load_file(path, device=device))
    except library.SafetensorError as err:
        raise CheckpointCorruptError(f"{path}: cannot be read as safetensors: {err}") from err


def _outline(library: Any, path: str) -> OrderedDict[str, torch.Tensor]:
    with library.safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        return OrderedDict(
            (name, torch.empty(part.get_shape(), dtype=_dtype(part.get_dtype()), device="meta"))
            for name, part in slices.items()
        )


def _dtype(name: str) -> torch.dtype:
    """The type that the format calls so: ``F32``, ``BF16``, ``F8_E4M3``, ``BOOL``, ..."""
    known = {"BOOL": "bool", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "C64": "complex64"}
    long = name.replace("F", "float").replace("I", "int").replace("U", "uint").lower()
    return getattr(torch, known.get(name, long))


def _unshared(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return result


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _library() -> Any:
    try:
        # Here: the library is an extra, most runs never need it.
        import safetensors.torch
    except ImportError as err:
        raise MissingLibraryError(
            "safetensors is not installed: pip install drivetrain-checkpoint[safetensors]"
        ) from err
    return safetensors
