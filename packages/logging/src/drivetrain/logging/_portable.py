"""Copies of data: for a reader to change freely, or for a file that any process can load safely."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from drivetrain.logging._scalar import is_tensor

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


class NotPortableError(TypeError):
    """A value is neither plain data nor a tensor."""


def copied(value: Any) -> Any:
    """Copy containers, arrays and tensors; return other objects as they are."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in (list, tuple, set):
        return kind(copied(item) for item in value)
    if kind is dict:
        return {key: copied(item) for key, item in value.items()}
    if is_tensor(value):
        return value.detach().clone()
    if _is_array(value) or isinstance(value, (dict, list, set)):
        return value.copy()
    return value


def portable(value: Any) -> Any:
    """Bring a value to plain data and tensors, so that it loads with ``weights_only=True``.

    Raises:
        NotPortableError: If it contains anything else.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {portable(key): portable(item) for key, item in value.items()}
    if kind in (list, tuple, set):
        return kind(portable(item) for item in value)
    if is_tensor(value):
        return value.detach()
    if _is_array(value):
        if value.ndim == 0:  # numpy scalars, too
            return portable(value.item())
        if value.dtype.kind in "biuf":
            torch = sys.modules.get("torch")
            return value.tolist() if torch is None else torch.tensor(value)
    raise NotPortableError(
        f"{kind.__module__}.{kind.__qualname__} is neither plain data nor tensor."
    )


def _is_array(value: object) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))
