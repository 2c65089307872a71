"""Merging samples into a batch, and counting the samples of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate as torch_default_collate

from drivetrain.dataset._errors import CollateError
from drivetrain.registry import FUNCTIONS

Merge = Callable[[Sequence[Any]], Any]


@FUNCTIONS.register_module()
def pseudo_collate(data_batch: Sequence[Any]) -> Any:
    """Merge samples field by field, and leave every leaf as it was.

    Args:
        data_batch: Samples of one structure: nested mappings, sequences and leaves.

    Returns:
        The structure of one sample, with the list of all samples' values where that has a leaf.
        Tensors are not stacked, numbers not converted.

    Raises:
        CollateError: If there is no sample, or sequences that belong together differ in length.

    Example:
        >>> pseudo_collate([{"x": 1, "y": "a"}, {"x": 2, "y": "b"}])
        {'x': [1, 2], 'y': ['a', 'b']}
    """
    first = _first_of(data_batch)
    if isinstance(first, (str, bytes)):
        return data_batch
    return _merge(data_batch, pseudo_collate, leaf=_as_it_is)


@FUNCTIONS.register_module()
def default_collate(data_batch: Sequence[Any]) -> Any:
    """Merge samples field by field and stack tensors, arrays and numbers.

    As PyTorch's function of this name, except that strings and data elements stay lists.

    Args:
        data_batch: Samples of one structure; tensors that belong together have one shape.

    Returns:
        The structure of one sample. Tensors and arrays of shape ``(...)`` become tensors of shape
        ``(B, ...)``, numbers become ``(B,)`` tensors.

    Raises:
        CollateError: If there is no sample, sequences differ in length, or tensors in shape.

    Example:
        >>> default_collate([{"x": 1}, {"x": 2}])
        {'x': tensor([1, 2])}
    """
    first = _first_of(data_batch)
    if isinstance(first, (str, bytes)) or _is_data_element(first):
        return data_batch
    return _merge(data_batch, default_collate, leaf=_stack)


def _first_of(samples: Sequence[Any]) -> Any:
    if not len(samples):
        raise CollateError("collate: there is no sample to merge; does the batch sampler give any?")
    return samples[0]


def _merge(samples: Sequence[Any], merge: Merge, *, leaf: Merge) -> Any:
    """Apply ``merge`` one level down in containers, ``leaf`` where there is no level left."""
    first = samples[0]
    kind: Any = type(first)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return kind(*(merge(column) for column in zip(*samples, strict=False)))
    if isinstance(first, Sequence) and not isinstance(first, (str, bytes)):
        lengths = {len(sample) for sample in samples}
        if len(lengths) > 1:
            raise CollateError(
                f"collate: each element in list of batch should be of equal size, "
                f"got sequences of {sorted(lengths)} items in one batch of {len(samples)}. "
                "Pad them in the pipeline, or keep them in a data element."
            )
        columns = [merge(column) for column in zip(*samples, strict=False)]
        if isinstance(first, tuple):
            return columns
        try:
            return kind(columns)
        except TypeError:  # for example a range: built from numbers, not from a list
            return columns
    if isinstance(first, Mapping):
        merged = {key: _merge_field(samples, key, merge) for key in first}
        try:
            return kind(merged)
        except TypeError:  # a mapping with a constructor of its own
            return merged
    return leaf(samples)


def _merge_field(samples: Sequence[Any], key: Any, merge: Merge) -> Any:
    try:
        column = [sample[key] for sample in samples]
    except KeyError:
        lacking = sum(key not in sample for sample in samples)
        raise CollateError(
            f"collate: field {key!r} is in the first sample and missing in {lacking} of the "
            f"{len(samples)} of this batch. Let every path of the pipeline set it."
        ) from None
    try:
        return merge(column)
    except CollateError as err:
        raise CollateError(f"field {key!r}: {err}") from err


def _is_data_element(value: Any) -> bool:
    """Whether this is one of the data elements of ``drivetrain.structures``, or built like one."""
    return hasattr(type(value), "metainfo_items")


def _as_it_is(samples: Sequence[Any]) -> Any:
    return samples


def _stack(samples: Sequence[Any]) -> Any:
    try:
        return torch_default_collate(list(samples))
    except (RuntimeError, TypeError) as err:
        shapes = {tuple(s.shape) for s in samples if isinstance(s, (torch.Tensor, np.ndarray))}
        detail = f" Shapes in this batch: {sorted(shapes)}." if len(shapes) > 1 else ""
        raise CollateError(
            f"collate: cannot stack {len(samples)} values of type {type(samples[0]).__name__}: "
            f"{err}.{detail} Use 'pseudo_collate' to keep them apart."
        ) from err


def num_samples(data_batch: Any) -> int:
    """Samples in a batch, as far as its structure tells.

    Args:
        data_batch: What a loader yielded.

    Returns:
        The first dimension of tensors, the length of lists below a mapping or sequence of fields;
        1 where nothing has a length.
    """
    if isinstance(data_batch, (torch.Tensor, np.ndarray)):
        return int(data_batch.shape[0]) if data_batch.ndim else 1
    if isinstance(data_batch, Mapping):
        return num_samples(next(iter(data_batch.values()))) if data_batch else 0
    if isinstance(data_batch, (list, tuple)) and data_batch:
        return _num_in_sequence(data_batch)
    return len(data_batch) if isinstance(data_batch, (list, tuple)) else 1


def _num_in_sequence(items: Sequence[Any]) -> int:
    first = items[0]
    if isinstance(first, (list, tuple)):
        return len(first)
    if isinstance(first, (torch.Tensor, np.ndarray)) and first.ndim:
        shapes = {tuple(item.shape) for item in items if hasattr(item, "shape")}
        leading = {shape[:1] for shape in shapes}
        # Fields of one batch share their first dimension and little else; samples share it all.
        if len(leading) == 1 and (len(shapes) > 1 or (len(items) == 2 and first.ndim <= 2)):
            return int(first.shape[0])
    return len(items)
