"""Batch norm whose statistics span all ranks, and the way back to one that does not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from drivetrain.dist._errors import BackendError
from drivetrain.dist._portable_batchnorm import PortableSyncBatchNorm


class _BatchNormXd(_BatchNorm):
    """Batch norm for inputs of any number of dimensions.

    ``SyncBatchNorm`` forgets whether it was of 1, 2 or 3 dimensions, so what replaces it cannot
    check that.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        return


def revert_sync_batchnorm(module: nn.Module) -> nn.Module:
    """Replace every ``SyncBatchNorm`` in ``module`` by a batch norm of this process alone.

    For one device. Parameters and statistics stay the same objects; the training mode carries
    over.

    Args:
        module: The model; changed in place.

    Returns:
        ``module``, or its replacement when it is a ``SyncBatchNorm`` itself.
    """
    return _replace(module, _sync_types(), _BatchNormXd, {})


def convert_sync_batchnorm(module: nn.Module, implementation: str = "torch") -> nn.Module:
    """Replace every batch norm in ``module`` by one whose statistics span all ranks.

    Args:
        module: The model; changed in place.
        implementation: ``'torch'`` for ``torch.nn.SyncBatchNorm``, which trains on accelerators
            only; ``'portable'`` for ``PortableSyncBatchNorm``, which trains everywhere; ``'mmcv'``
            for the one of mmcv.

    Returns:
        ``module``, or its replacement when it is a batch norm itself.

    Raises:
        BackendError: If the implementation is unknown or not installed.
    """
    return _replace(module, (_BatchNorm,), _implementation(implementation), {})


def _implementation(name: str) -> type[nn.Module]:
    if name == "torch":
        return nn.SyncBatchNorm
    if name == "portable":
        return PortableSyncBatchNorm
    if name != "mmcv":
        raise BackendError(f"sync_bn must be 'torch', 'portable' or 'mmcv', got {name!r}.")
    try:
        ops = importlib.import_module("mmcv.ops")  # optional, heavy, compiled: only on request
    except ImportError as err:
        raise BackendError(
            "sync_bn='mmcv' needs the mmcv package; sync_bn='torch' does not."
        ) from err
    return ops.SyncBatchNorm


def _sync_types() -> tuple[type[nn.Module], ...]:
    # Recognized only where the program itself imported them: a model that has none needs no mmcv.
    mmcv = sys.modules.get("mmcv.ops.sync_bn")
    ours = (nn.SyncBatchNorm, PortableSyncBatchNorm)
    return ours if mmcv is None else (*ours, mmcv.SyncBatchNorm)


def _replace(
    module: nn.Module,
    old_types: tuple[type[nn.Module], ...],
    new_type: Callable[..., nn.Module],
    done: dict[nn.Module, nn.Module],
) -> nn.Module:
    """Replace layers of ``old_types``; a layer that is used twice is replaced by one."""
    if module in done:
        return done[module]
    is_target = isinstance(module, old_types) and not (
        isinstance(new_type, type) and isinstance(module, new_type)
    )
    done[module] = _carried_over(module, new_type) if is_target else module
    if not is_target:
        for name, child in module._modules.items():
            if child is not None:
                module._modules[name] = _replace(child, old_types, new_type, done)
    return done[module]


def _carried_over(old: Any, new_type: Callable[..., Any]) -> nn.Module:
    new = new_type(old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats)
    if old.affine:
        new.weight, new.bias = old.weight, old.bias
    new.running_mean, new.running_var = old.running_mean, old.running_var
    new.num_batches_tracked = old.num_batches_tracked
    new.train(old.training)
    if hasattr(old, "qconfig"):  # set by torch's quantization
        new.qconfig = old.qconfig
    return new
