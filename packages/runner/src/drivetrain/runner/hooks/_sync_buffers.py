"""Making the ranks agree on buffers such as running means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivetrain.dist import all_reduce_params, is_distributed
from drivetrain.registry import HOOKS
from drivetrain.runner.hooks._hook import Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class SyncBuffersHook(Hook):
    """Average the model's floating-point buffers over the ranks, after each training epoch."""

    priority = "NORMAL"

    def after_train_epoch(self, runner: Engine) -> None:
        """Average after each training epoch."""
        if is_distributed():
            floating = [b for b in runner.model.buffers() if b.is_floating_point()]
            all_reduce_params(floating, op="mean")
