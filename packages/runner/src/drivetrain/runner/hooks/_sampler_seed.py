"""Telling samplers which epoch begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivetrain.registry import HOOKS
from drivetrain.runner.hooks._hook import Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class DistSamplerSeedHook(Hook):
    """Call ``set_epoch`` of the training loader's sampler before each epoch.

    Samplers draw an epoch's order from their seed and the epoch, so that all ranks agree on it.
    """

    priority = "NORMAL"

    def before_train_epoch(self, runner: Engine) -> None:
        """Pass the epoch to the sampler, or to the one inside a batch sampler."""
        loader = runner.train_dataloader
        for sampler in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(runner.epoch)
                return
