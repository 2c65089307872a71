"""What ``torch.load(..., weights_only=True)`` may rebuild: elements, and arrays of plain values.

Such a load calls nothing but what a process has listed, and refuses the rest. An element is listed
because it is data: its class is created without arguments, and its fields are put in their place.
Arrays are listed because elements hold them; torch lists tensors only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_PLAIN_KINDS = "?bhilqBHILQefdFDSU"  # booleans, integers, floats, complex numbers, text; no objects


def allow_element(element_class: type) -> None:
    """Let files name this class."""
    torch.serialization.add_safe_globals([element_class])


def allow_arrays() -> None:
    """Let files hold NumPy arrays and numbers, from NumPy 1 and 2."""
    rebuild_array: Any = np.empty(0).__reduce__()[0]
    rebuild_number: Any = np.float64(0).__reduce__()[0]
    allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [np.ndarray, np.dtype]
    allowed.append(bytes)  # an array without entries is made from
    for package in ("numpy.core", "numpy._core"):  # the name before NumPy 2, and since
        allowed.append((rebuild_array, f"{package}.multiarray._reconstruct"))
        allowed.append((rebuild_number, f"{package}.multiarray.scalar"))
    allowed += {type(np.dtype(kind)) for kind in _PLAIN_KINDS}
    torch.serialization.add_safe_globals(allowed)
