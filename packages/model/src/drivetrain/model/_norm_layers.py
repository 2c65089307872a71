"""Telling normalization layers from others."""

from __future__ import annotations

from torch import nn
from torch.nn import SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from drivetrain.model._errors import ModelTypeError

# Offered to code that names them by this package.
__all__ = [
    "SyncBatchNorm",
    "_BatchNorm",
    "_ConvNd",
    "_InstanceNorm",
    "has_batch_norm",
    "is_norm",
]

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)


def is_norm(layer: nn.Module, exclude: type | tuple[type, ...] | None = None) -> bool:
    """Whether a layer normalizes: batch, instance, group or layer norm.

    Args:
        layer: The layer.
        exclude: Types that do not count.

    Raises:
        ModelTypeError: If ``exclude`` is neither a type nor a tuple of types.
    """
    if exclude is not None:
        types = exclude if isinstance(exclude, tuple) else (exclude,)
        if not all(isinstance(kind, type) for kind in types):
            raise ModelTypeError(f"is_norm: exclude is a type or a tuple of them, got {exclude!r}")
        if isinstance(layer, types):
            return False
    return isinstance(layer, _NORMS)


def has_batch_norm(model: nn.Module) -> bool:
    """Whether the model is, or has in it, a batch norm."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())
