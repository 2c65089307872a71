"""Making values plain, so that a checkpoint that holds them loads without running anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def to_plain(value: Any) -> Any:
    """``value`` with numbers, strings, lists, tuples, dicts and tensors only.

    NumPy arrays become tensors, NumPy numbers Python ones; what is none of these becomes its
    ``repr``.
    """
    if value is None or isinstance(value, (torch.Tensor, bytes)):
        return value
    if type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return torch.from_numpy(value.copy())
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(to_plain(item) for item in value)
    if isinstance(value, (list, set, frozenset)):
        return [to_plain(item) for item in value]
    for base in (bool, int, float, str):
        if isinstance(value, base):
            return base(value)
    return repr(value)
