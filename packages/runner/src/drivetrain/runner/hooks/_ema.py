"""Keeping an averaged copy of the model, and evaluating that."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

from drivetrain.checkpoint import load_state_dict
from drivetrain.dist import broadcast, is_distributed, is_model_wrapper
from drivetrain.registry import HOOKS, MODELS, building
from drivetrain.runner._errors import RunnerConfigError
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from torch import nn

    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class EMAHook(Hook):
    """Average the model's weights during training; validate, test and publish the average.

    In a checkpoint ``state_dict`` holds the averaged weights, which is what one wants to load, and
    ``ema_state_dict`` the trained ones, so that a resumed run goes on exactly.

    Args:
        ema_type: Registered name of the averaged model.
        strict_load: Whether the averaged weights of a checkpoint must fit exactly.
        begin_iter: Finished iterations before averaging starts.
        begin_epoch: Finished epochs before averaging starts; not together with ``begin_iter``.
        **kwargs: Arguments of the averaged model (``momentum``, ``interval``, ``update_buffers``…).
    """

    priority = "NORMAL"

    def __init__(
        self,
        ema_type: str = "ExponentialMovingAverage",
        strict_load: bool = True,
        begin_iter: int = 0,
        begin_epoch: int = 0,
        **kwargs: Any,
    ) -> None:
        if begin_iter < 0 or begin_epoch < 0:
            raise ValueError(
                "EMAHook: begin_iter and begin_epoch count from 0, "
                f"got begin_iter={begin_iter}, begin_epoch={begin_epoch}"
            )
        if begin_iter and begin_epoch:
            raise ValueError(
                "EMAHook: give begin_iter or begin_epoch, not both: "
                f"got begin_iter={begin_iter}, begin_epoch={begin_epoch}"
            )
        self.strict_load = strict_load
        self.ema_cfg = {"type": ema_type, **kwargs}
        self.begin_iter = begin_iter
        self.begin_epoch = begin_epoch
        self.enabled_by_epoch = begin_epoch > 0
        self.src_model: Any = None
        self.ema_model: Any = None

    def before_run(self, runner: Engine) -> None:
        """Make the averaged copy; a test after a training keeps the average that it made."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if model is not self.src_model:
            self.src_model = model
            with building("EMAHook.ema_type"):
                self.ema_model = MODELS.build(self.ema_cfg, default_args={"model": model})

    def before_train(self, runner: Engine) -> None:
        """Refuse an average that would never start."""
        if self.begin_epoch and self.begin_epoch > runner.max_epochs:
            raise RunnerConfigError(
                f"EMAHook: begin_epoch={self.begin_epoch} lies after the last of "
                f"{runner.max_epochs} epochs"
            )
        if self.begin_iter > runner.max_iters:
            raise RunnerConfigError(
                f"EMAHook: begin_iter={self.begin_iter} lies after the last of "
                f"{runner.max_iters} iterations"
            )

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Move the average; before its start, keep it equal to the model."""
        if self._started(runner):
            self.ema_model.update_parameters(self.src_model)
        else:
            self._copy_into_average()

    def _started(self, runner: Engine) -> bool:
        if self.enabled_by_epoch:
            return runner.epoch + 1 >= self.begin_epoch
        return runner.iter + 1 >= self.begin_iter

    def _copy_into_average(self) -> None:
        source = self.src_model.state_dict()
        for name, tensor in self.ema_model.module.state_dict().items():
            tensor.copy_(source[name])

    def before_val_epoch(self, runner: Engine) -> None:
        """Put the averaged weights into the model."""
        self._share_buffers()
        self._swap_parameters()

    def after_val_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """Put the trained weights back."""
        self._swap_parameters()

    def before_test_epoch(self, runner: Engine) -> None:
        """Put the averaged weights into the model."""
        self._share_buffers()
        self._swap_parameters()

    def after_test_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """Put the trained weights back."""
        self._swap_parameters()

    def before_save_checkpoint(self, runner: Engine, checkpoint: dict[str, Any]) -> None:
        """Store the average as ``state_dict``, the trained weights as ``ema_state_dict``."""
        checkpoint["ema_state_dict"] = self.ema_model.state_dict()
        self._swap_state_dicts(checkpoint)

    def after_load_checkpoint(self, runner: Engine, checkpoint: dict[str, Any]) -> None:
        """Resume the average, or start it at the loaded weights."""
        if self.ema_model is None:  # loaded before anything ran: the copy will be made of them
            return
        if "ema_state_dict" in checkpoint and runner.is_resuming:
            self._swap_state_dicts(checkpoint)
            self.ema_model.load_state_dict(checkpoint["ema_state_dict"], strict=self.strict_load)
        else:
            weights = copy.deepcopy(checkpoint.get("state_dict", checkpoint))
            load_state_dict(self.ema_model.module, weights, strict=self.strict_load)

    def _share_buffers(self) -> None:
        """Let all ranks evaluate the average that is saved: each has averaged buffers of its own.

        The averaged weights are equal anyway, as are those that they average.
        """
        if is_distributed():
            for buffer in self._averaged_buffers(self.ema_model.module):
                broadcast(buffer, src=0)

    def _swap_parameters(self) -> None:
        average = self.ema_model.module
        pairs = zip(
            itertools.chain(self.src_model.parameters(), self._averaged_buffers(self.src_model)),
            itertools.chain(average.parameters(), self._averaged_buffers(average)),
            strict=True,
        )
        for source, averaged in pairs:
            swapped = averaged.data.clone()
            averaged.data.copy_(source.data)
            source.data.copy_(swapped)

    def _averaged_buffers(self, module: nn.Module) -> list[Any]:
        return list(module.buffers()) if self.ema_model.update_buffers else []

    def _swap_state_dicts(self, checkpoint: dict[str, Any]) -> None:
        """Exchange averaged and trained weights; buffers only where they are averaged."""
        model, average = checkpoint["state_dict"], checkpoint["ema_state_dict"]
        names = [name for name, _ in self.src_model.named_parameters()]
        if self.ema_model.update_buffers:
            names += [name for name, _ in self.src_model.named_buffers()]
        for name in names:
            averaged = f"module.{name}"
            if name in model and averaged in average:
                model[name], average[averaged] = average[averaged], model[name]
