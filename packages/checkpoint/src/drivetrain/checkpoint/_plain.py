"""State as plain data: what any torch loads again with ``weights_only=True``."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from drivetrain.checkpoint._errors import NotPlainDataError

_ATOMS = frozenset(
    {type(None), bool, float, complex, str, bytearray, torch.dtype, torch.device, torch.Size}
)
_MAX_INT_BITS = 255 * 8 - 1  # longer ones get an opcode that the safe reader lacks
_MAX_SHOWN = 10


def as_plain_data(state: Any) -> Any:
    """Return the same state, made of plain types and tensors only.

    Containers are rebuilt, tensors are not copied. A value with an equal plain form takes it: NumPy
    numbers become numbers, numeric NumPy arrays tensors, paths strings, subclasses of ``dict``,
    ``list``, ``tuple``, ``str``, ``int``, ``float`` their base, attributes of tensors are dropped.

    Raises:
        NotPlainDataError: If anything else is in it. The error names every place.

    Example:
        >>> as_plain_data({"meta": {"best": numpy.float32(0.5)}, "w": torch.zeros(1)})
        {'meta': {'best': 0.5}, 'w': tensor([0.])}
    """
    walk = _Walk()
    plain = walk.convert(state, ())
    if walk.refused:
        raise NotPlainDataError(_refusal(walk.refused))
    return plain


class _Walk:
    """One pass over a state; collects what has no plain form."""

    def __init__(self) -> None:
        self.refused: list[tuple[str, str]] = []
        self._open: set[int] = set()

    def convert(self, value: Any, path: tuple[str, ...]) -> Any:
        kind = type(value)
        if kind in _ATOMS:
            return value
        if kind is int:
            return self._int(value, path)
        if kind is bytes:
            # Empty bytes are pickled as a call of their class, which the safe reader refuses; an
            # empty bytearray equals them and is not.
            return value or bytearray()
        if isinstance(value, torch.Tensor):
            return self._tensor(value, path)
        if isinstance(value, (Mapping, list, tuple, set, frozenset, range)):
            return self._container(value, path)
        return self._leaf(value, path)

    def _container(self, value: Any, path: tuple[str, ...]) -> Any:
        if id(value) in self._open:
            return self._refuse(path, f"{type(value).__name__} that contains itself")
        self._open.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, path)
            is_set = isinstance(value, (set, frozenset))
            convert = self._hashable if is_set else self.convert
            items = [convert(item, (*path, f"[{i}]")) for i, item in enumerate(value)]
        finally:
            self._open.discard(id(value))
        if isinstance(value, tuple):
            return tuple(items)
        return set(items) if is_set else items

    def _mapping(self, value: Mapping[Any, Any], path: tuple[str, ...]) -> dict[Any, Any]:
        plain: dict[Any, Any] = OrderedDict() if isinstance(value, OrderedDict) else {}
        for key, item in value.items():
            place = (*path, f"[{key!r}]")
            plain[self._hashable(key, (*place, " (the key)"))] = self.convert(item, place)
        # A module's state_dict carries the versions of its layers in this attribute.
        metadata = getattr(value, "_metadata", None)
        if isinstance(value, OrderedDict) and isinstance(metadata, Mapping):
            plain._metadata = self.convert(metadata, (*path, "._metadata"))  # type: ignore[attr-defined]  # torch sets it the same way
        return plain

    def _hashable(self, value: Any, path: tuple[str, ...]) -> Any:
        plain = self.convert(value, path)
        try:
            hash(plain)
        except TypeError:
            return self._refuse(path, f"{_name(type(value))}, which has no plain form as a key")
        return plain

    def _int(self, value: int, path: tuple[str, ...]) -> int | None:
        bits = value.bit_length()
        return value if bits <= _MAX_INT_BITS else self._refuse(path, f"int of {bits} bits")

    def _tensor(self, value: torch.Tensor, path: tuple[str, ...]) -> Any:
        kind = type(value)
        if kind is not torch.Tensor and kind is not torch.nn.Parameter:
            return self._refuse(path, f"{_name(kind)}, a kind of tensor of its own")
        # Attributes and hooks of a tensor would be pickled along with it.
        if value.__dict__ or value._backward_hooks:
            return value.detach()
        return value

    def _leaf(self, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        numpy = sys.modules.get("numpy")  # a NumPy value can only exist where NumPy is loaded
        if numpy is not None and isinstance(value, numpy.generic):
            return self.convert(value.item(), path)
        if numpy is not None and isinstance(value, numpy.ndarray):
            return self._array(value, path)
        for base in (str, int, float):
            if isinstance(value, base) and not _is_enum(value):
                return self.convert(base(value), path)
        return self._refuse(path, _name(type(value)))

    def _array(self, value: Any, path: tuple[str, ...]) -> Any:
        try:
            return torch.from_numpy(value.copy())
        except TypeError:  # strings and objects have no tensor form
            return self.convert(value.tolist(), path)

    def _refuse(self, path: tuple[str, ...], what: str) -> None:
        self.refused.append(("".join(path) or "the state itself", what))


def _is_enum(value: Any) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and isinstance(value, enum.Enum)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _refusal(refused: list[tuple[str, str]]) -> str:
    lines = [f"  {place}: {what}" for place, what in refused[:_MAX_SHOWN]]
    if len(refused) > _MAX_SHOWN:
        lines.append(f"  … and {len(refused) - _MAX_SHOWN} more")
    return "\n".join(
        [
            "this state cannot be saved: it would not load with weights_only=True. Not plain data:",
            *lines,
            "  What to do: store numbers, strings, lists, dicts and tensors; give a class a "
            "state_dict().",
        ]
    )


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in nested plain data, in its order; one that is there twice comes twice."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)
