"""Cutting padding off the end of a batch, whatever the batch looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor


def first_samples(batch: Any, keep: int, size: int) -> Any:
    """The first ``keep`` of the ``size`` samples of a batch.

    Args:
        batch: Tensors and arrays of shape ``(size, ...)``, lists of ``size`` samples, and mappings
            and sequences of such fields. Anything else is left as it is.
        keep: Samples to keep.
        size: Samples in the batch.
    """
    if isinstance(batch, (Tensor, np.ndarray)):
        return batch[:keep] if batch.ndim and len(batch) == size else batch
    if isinstance(batch, Mapping):
        return {key: first_samples(value, keep, size) for key, value in batch.items()}
    if not isinstance(batch, (list, tuple)):
        return batch
    if _holds_fields(batch, size):
        fields = [first_samples(field, keep, size) for field in batch]
        return type(batch)(*fields) if hasattr(batch, "_fields") else type(batch)(fields)
    return batch[:keep] if len(batch) == size else batch


def _holds_fields(sequence: list[Any] | tuple[Any, ...], size: int) -> bool:
    """Whether each item is a field of all samples, rather than one sample."""
    return bool(sequence) and all(
        isinstance(item, (Tensor, np.ndarray, list, tuple))
        and bool(getattr(item, "ndim", 1))
        and len(item) == size
        for item in sequence
    )
