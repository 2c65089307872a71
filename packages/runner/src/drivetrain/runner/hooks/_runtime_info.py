"""Publishing what the run is doing, for parts that cannot see the runner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from drivetrain.logging import FULL, MessageHub
from drivetrain.registry import HOOKS
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class RuntimeInfoHook(Hook):
    """Keep epoch, iteration, learning rates, losses and metrics up to date in the message hub.

    Scalars get the prefix of their stage: ``train/lr``, ``train/loss``, ``val/<metric>``. Losses go
    in as the tensors that the model gave: nothing waits for the device here.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._hub: Any = None
        self._inbox: Any = None
        self._keys: dict[str, str] = {}  # name of a scalar, and the one that it has in the hub

    def before_run(self, runner: Engine) -> None:
        """Publish what identifies the run."""
        runner.message_hub.update_info_dict(
            {
                "cfg": runner.cfg.pretty_text,
                "seed": runner.seed,
                "experiment_name": runner.experiment_name,
            },
            resumed=False,
        )

    def before_train(self, runner: Engine) -> None:
        """Publish where training starts or goes on, and where it ends."""
        hub = runner.message_hub
        hub.update_info("loop_stage", "train")
        hub.update_info("epoch", runner.epoch)
        hub.update_info("iter", runner.iter)
        hub.update_info("max_epochs", runner.max_epochs)
        hub.update_info("max_iters", runner.max_iters)
        metainfo = getattr(runner.train_dataloader.dataset, "metainfo", None)
        if metainfo is not None:
            hub.update_info("dataset_meta", metainfo)

    def before_train_epoch(self, runner: Engine) -> None:
        """Publish the epoch that begins."""
        runner.message_hub.update_info("epoch", runner.epoch)

    def before_train_iter(self, runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
        """Publish the iteration that begins and the learning rates that it will use."""
        hub = runner.message_hub
        hub.update_info("iter", runner.iter)
        keys = self._keys if hub is self._hub else self._begin(hub)
        for name, rates in runner.optim_wrapper.get_lr().items():
            key, rate = keys.get(name) or self._open(name), rates[0]
            if type(rate) is float:
                self._inbox.append((key, rate, 1))
            else:
                hub.update_scalar(key, rate)

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Hand the model's log values over; those that are on another device stay there."""
        if not outputs:
            return
        hub = runner.message_hub
        keys = self._keys if hub is self._hub else self._begin(hub)
        for name, value in outputs.items():
            key = keys.get(name) or self._open(name)
            if type(value) is torch.Tensor and value.is_cpu and not value.ndim:
                number: Any = value.tolist()
                self._inbox.append((key, float(number), 1))
            else:
                hub.update_scalar(key, value)
        if len(self._inbox) >= FULL:
            hub.settle()

    def _begin(self, hub: MessageHub) -> dict[str, str]:
        self._hub, self._keys, self._inbox = hub, {}, hub.inbox_for()
        return self._keys

    def _open(self, name: str) -> str:
        key = self._keys[name] = f"train/{name}"
        self._hub.inbox_for(key)
        return key

    def before_val(self, runner: Engine) -> None:
        """Publish that a validation runs."""
        runner.message_hub.update_info("loop_stage", "val")

    def after_val(self, runner: Engine) -> None:
        """Training goes on, if it was training before."""
        runner.message_hub.update_info("loop_stage", "train")

    def before_test(self, runner: Engine) -> None:
        """Publish that a test runs."""
        runner.message_hub.update_info("loop_stage", "test")

    def after_val_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """Publish validation metrics."""
        self._publish(runner, "val", metrics)

    def after_test_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """Publish test metrics."""
        self._publish(runner, "test", metrics)

    @staticmethod
    def _publish(runner: Engine, mode: str, metrics: dict[str, Any] | None) -> None:
        for name, value in (metrics or {}).items():
            if _is_scalar(value):
                runner.message_hub.update_scalar(f"{mode}/{name}", value)
            else:
                runner.message_hub.update_info(f"{mode}/{name}", value, resumed=False)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    if isinstance(value, np.ndarray):
        return value.size == 1
    return isinstance(value, (int, float, np.number))
