"""Indices of a subset: a count from either end, or row numbers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from drivetrain.dataset._errors import DatasetArgumentError, SubsetError


def rows_of(indices: int | Sequence[int], size: int) -> Sequence[int]:
    """The row numbers, none negative, that ``indices`` selects out of ``size`` rows.

    Args:
        indices: A count: the first so many rows, or the last if negative. Or a sequence of row
            numbers; a negative one counts from the end.
        size: Rows there are.

    Raises:
        DatasetArgumentError: If ``indices`` is neither.
        SubsetError: If there are fewer rows than that, or a row number is out of range.
    """
    if isinstance(indices, (int, np.integer)) and not isinstance(indices, bool):
        count = abs(int(indices))
        if count > size:
            raise SubsetError(
                f"indices ask for {count} samples, and the dataset has {size} (after its filter, "
                "where there is one). Ask for fewer, or leave indices out."
            )
        return range(count) if indices >= 0 else range(size - count, size)
    if not isinstance(indices, (Sequence, np.ndarray)) or isinstance(indices, str):
        raise DatasetArgumentError(
            f"indices should be a int or sequence of int, got {type(indices).__name__}"
        )
    return [_row(index, size) for index in indices]


def _row(index: Any, size: int) -> int:
    try:
        if isinstance(index, bool):  # a mask would silently choose rows 0 and 1
            raise TypeError
        row = operator.index(index)
    except TypeError:
        raise DatasetArgumentError(
            f"indices should be a int or sequence of int, it contains {index!r}"
        ) from None
    if not -size <= row < size:
        raise SubsetError(f"indices contain {row}, and the dataset has {size} samples")
    return row % size
