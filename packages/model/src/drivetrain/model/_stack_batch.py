"""Tensors of unequal sizes, padded into one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from drivetrain.model._errors import BatchError, ModelTypeError


def round_up(size: int, divisor: int) -> int:
    """Return the smallest multiple of ``divisor`` that is at least ``size``."""
    return size if divisor <= 1 else -(-size // divisor) * divisor


def stack_batch(
    tensor_list: Sequence[Tensor], pad_size_divisor: int = 1, pad_value: float = 0
) -> Tensor:
    """Stack tensors into a batch; pad at the right and at the bottom to the largest.

    Args:
        tensor_list: Tensors ``(C, *sizes)`` with the same ``C`` and number of dimensions.
        pad_size_divisor: Each padded size is a multiple of it. Many models need 32.
        pad_value: Fills the padding.

    Returns:
        ``(len(tensor_list), C, *padded_sizes)``.

    Raises:
        ModelTypeError: If it is no list of tensors.
        BatchError: If the list is empty, dimensions or channels differ, or the divisor is negative.

    Example:
        >>> stack_batch([torch.ones(3, 4, 5), torch.ones(3, 6, 2)], pad_size_divisor=4).shape
        torch.Size([2, 3, 8, 8])
    """
    if not isinstance(tensor_list, list | tuple):
        raise ModelTypeError(f"stack_batch: needs a list, got {type(tensor_list).__name__}")
    if not tensor_list:
        raise BatchError("stack_batch: the list of tensors is empty")
    if pad_size_divisor < 0:
        raise BatchError(f"stack_batch: pad_size_divisor is a length, got {pad_size_divisor}")
    for position, tensor in enumerate(tensor_list):
        if not isinstance(tensor, Tensor):
            raise ModelTypeError(
                f"stack_batch: item {position} must be a tensor, got {type(tensor).__name__}"
            )
    shapes = [tuple(tensor.shape) for tensor in tensor_list]
    first = shapes[0]
    if any(len(shape) != len(first) for shape in shapes):
        raise BatchError(f"stack_batch: all tensors need one number of dimensions, got {shapes}")
    sizes = [round_up(max(column), pad_size_divisor) for column in zip(*shapes, strict=True)]
    if first:
        if any(shape[0] != first[0] for shape in shapes):
            raise BatchError(f"stack_batch: all tensors need the same first size, got {shapes}")
        sizes[0] = first[0]  # channels are not padded
    if all(shape == tuple(sizes) for shape in shapes):
        return torch.stack(list(tensor_list))
    batch = tensor_list[0].new_full((len(shapes), *sizes), pad_value)
    for row, tensor, shape in zip(batch, tensor_list, shapes, strict=True):
        row[tuple(slice(size) for size in shape)] = tensor
    return batch
