"""Giving cached accelerator memory back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from drivetrain.registry import HOOKS
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class EmptyCacheHook(Hook):
    """Release the memory that the accelerator's allocator holds without using it.

    It costs time and is worth it only where another process needs that memory. Without an
    accelerator it does nothing.

    Args:
        before_epoch: Release before each epoch.
        after_epoch: Release after each epoch.
        after_iter: Release after each iteration.
    """

    priority = "NORMAL"

    def __init__(
        self, before_epoch: bool = False, after_epoch: bool = True, after_iter: bool = False
    ) -> None:
        self._before_each_epoch = before_epoch
        self._after_each_epoch = after_epoch
        self._after_each_iter = after_iter

    def _before_epoch(self, runner: Engine, mode: str = "train") -> None:
        if self._before_each_epoch:
            _empty_cache()

    def _after_epoch(self, runner: Engine, mode: str = "train") -> None:
        if self._after_each_epoch:
            _empty_cache()

    def _after_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: Any = None,
        mode: str = "train",
    ) -> None:
        if self._after_each_iter:
            _empty_cache()


def _empty_cache() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
