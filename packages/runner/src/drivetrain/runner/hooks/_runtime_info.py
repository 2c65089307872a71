"""Publishing what the run is doing, for parts that cannot see the runner."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from drivetrain.logging import FULL
from drivetrain.registry import HOOKS
from drivetrain.runner._as_written import keeps
from drivetrain.runner.hooks._columns import Columns, facts_for
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
        _announcer(runner, runner)(runner, batch_idx)

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Hand the model's log values over; those that are on another device stay there."""
        _reporter(runner)(runner, batch_idx, outputs=outputs)

    def bound_at(self, point: str, runner: Engine) -> Callable[..., None] | None:
        """The two above, with the places that they write to looked up once."""
        if point == "before_train_iter":
            return _announcer(runner, runner.train_loop)
        if point == "after_train_iter":
            return _reporter(runner)
        return super().bound_at(point, runner)

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


def _announcer(runner: Engine, position: Any) -> Callable[..., None]:
    hub = runner.message_hub
    facts, columns = facts_for(hub, "iter"), Columns(hub, "train/")
    optim_wrapper: Any = None
    plain = False

    def announce(runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
        nonlocal optim_wrapper, plain
        facts["iter"] = position.iter
        if runner.optim_wrapper is not optim_wrapper:
            optim_wrapper = runner.optim_wrapper
            # Asking for the rates of all groups to take that of the first is most of the time here.
            written = getattr(type(optim_wrapper), "as_written", {}).get("get_lr")
            plain = written is not None and keeps(optim_wrapper, {"get_lr": written})
        if plain and optim_wrapper.base_param_settings is None:
            rate = optim_wrapper.optimizer.param_groups[0]["lr"]
            if type(rate) is float:
                columns["lr"].append(rate)
                return
        for name, rates in optim_wrapper.get_lr().items():
            hub.update_scalar(f"train/{name}", rates[0])

    return announce


def _reporter(runner: Engine) -> Callable[..., None]:
    hub = runner.message_hub
    columns, tensor = Columns(hub, "train/"), torch.Tensor

    def report(
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        column: Any = ()
        for name, value in (outputs or {}).items():
            if type(value) is tensor and value.is_cpu and not value.ndim:
                column = columns[name]
                column.append(value.tolist())
            else:
                hub.update_scalar(f"train/{name}", value)
        if len(column) >= FULL:
            hub.settle()

    return report
