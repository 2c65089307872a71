"""Checkpoints of the reference engine: its log history read as plain data.

Its files hold ``HistoryBuffer`` objects, which refer to NumPy arrays and to ``getattr``. Loading
them the usual way would mean to run whatever the file names. Here each of these few names stands
for a small class of ours that only keeps values, so the file is read with ``weights_only=True``
and without the packages that wrote it.
"""

from __future__ import annotations

import contextlib
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

_HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_DTYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}


class _History:
    """Stands for a history buffer; only its fields are kept."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.fields = dict(state)

    def plain(self) -> dict[str, Any]:
        """The history in the form that ``drivetrain.logging.HistoryBuffer`` loads."""
        values = _as_values(self.fields.get("_log_history"))
        counts = _as_values(self.fields.get("_count_history"))
        if counts.numel() != values.numel():
            raise pickle.UnpicklingError("a history of the file has more values than counts")
        limit = self.fields.get("_max_length", 1_000_000)
        return {"values": values, "counts": counts, "before": {}, "max_length": limit}


class _Dtype:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code
        self.byte_order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = state[1]

    def torch_dtype(self) -> torch.dtype:
        if self.code not in _DTYPES or self.byte_order == ">":
            raise pickle.UnpicklingError(f"a NumPy array of type {self.code!r} cannot be read")
        return _DTYPES[self.code]


class _ArrayType:
    """Stands for ``numpy.ndarray`` where a file names the class."""


class _Array:
    """Stands for a NumPy array."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.fortran_order, self.content = state

    def plain(self) -> torch.Tensor:
        flat = _tensor_of_bytes(_as_bytes(self.content), self.dtype)
        if self.fortran_order:
            return flat.reshape(tuple(reversed(self.shape))).permute(
                *reversed(range(len(self.shape)))
            )
        return flat.reshape(tuple(self.shape))


def _new_array(*_: Any) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, content: Any = b"") -> Any:
    return _tensor_of_bytes(_as_bytes(content), dtype)[0].item()


def _attribute(owner: Any, name: str) -> str:
    """Stands for ``getattr``; all that a history asks for are its own statistics."""
    if owner is not _History:
        raise pickle.UnpicklingError("getattr is allowed on a history buffer only")
    return name


_STAND_INS: dict[str, Callable[..., Any]] = {
    _HISTORY: _History,
    "builtins.getattr": _attribute,
    "__builtin__.getattr": _attribute,
    "numpy.ndarray": _ArrayType,
    "numpy.dtype": _Dtype,
    "numpy.core.multiarray._reconstruct": _new_array,
    "numpy._core.multiarray._reconstruct": _new_array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
}
# Objects of these classes are filled by the unpickler, so it must know the classes themselves.
_STATEFUL: tuple[Callable[..., Any], ...] = (_Array,)


def is_legacy(refused: set[str]) -> bool:
    """Whether everything that the safe reader refused is known from the reference engine."""
    return bool(refused) and refused <= set(_STAND_INS)


def load_legacy(path: str, map_location: Any) -> Any:
    """Read a checkpoint of the reference engine; histories and arrays come as plain data."""
    allowed: list[Any] = [(stand_in, name) for name, stand_in in _STAND_INS.items()]
    with _allowing_only([*allowed, *_STATEFUL]):
        content = torch.load(path, map_location=map_location, weights_only=True)
    return _to_plain(content)


@contextlib.contextmanager
def _allowing_only(allowed: list[Any]) -> Iterator[None]:
    """Set aside what this process allows besides: it may hold other things by the same names."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(allowed)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _to_plain(value: Any) -> Any:
    if isinstance(value, (_History, _Array)):
        return value.plain()
    if isinstance(value, _Dtype):
        return value.torch_dtype()
    if isinstance(value, dict):
        plain: dict[Any, Any] = OrderedDict() if isinstance(value, OrderedDict) else {}
        plain.update((_to_plain(key), _to_plain(item)) for key, item in value.items())
        if hasattr(value, "_metadata"):
            plain._metadata = value._metadata  # type: ignore[attr-defined]  # as torch does
        return plain
    if isinstance(value, (list, tuple, set)):
        return type(value)(_to_plain(item) for item in value)
    return value


def _as_values(value: Any) -> torch.Tensor:
    if isinstance(value, _Array):
        value = value.plain()
    return torch.as_tensor([] if value is None else value, dtype=torch.float64).flatten()


def _as_bytes(content: Any) -> bytes:
    return content if isinstance(content, bytes) else str(content).encode("latin-1")


def _tensor_of_bytes(content: bytes, dtype: _Dtype) -> torch.Tensor:
    if not content:
        return torch.empty(0, dtype=dtype.torch_dtype())
    return torch.frombuffer(bytearray(content), dtype=dtype.torch_dtype())
