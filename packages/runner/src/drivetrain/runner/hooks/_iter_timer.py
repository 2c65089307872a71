"""How long an iteration takes, and how much of it is waiting for data."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from drivetrain.logging import FULL
from drivetrain.registry import HOOKS
from drivetrain.runner.hooks._columns import Columns, facts_for
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class IterTimerHook(Hook):
    """Record ``<mode>/data_time`` and ``<mode>/time`` (seconds), and the expected end (``eta``).

    Times are wall clock on the host. On an accelerator that works ahead, a single iteration's time
    is the time to queue it; over a log window the figures agree with the device.
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self._iter_end_s = perf_counter()
        self._train_s = 0.0
        self._train_iters = 0
        self._iters_left = 0
        self._eval_s = 0.0
        self._eval_batches = 0

    def before_train(self, runner: Engine) -> None:
        """Count from here: what ran before a resume says nothing about this machine's pace."""
        self._train_s = 0.0
        self._train_iters = 0
        self._iters_left = runner.max_iters - runner.iter

    def _before_epoch(self, runner: Engine, mode: str = "train") -> None:
        self._iter_end_s = perf_counter()
        if mode != "train":
            self._eval_s = 0.0
            loader = runner.val_dataloader if mode == "val" else runner.test_dataloader
            self._eval_batches = len(loader)

    def before_train_iter(self, runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
        """The batch is here: what passed since the last iteration was waiting for it."""
        self._arrival(runner, "train")(runner, batch_idx)

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Record the whole iteration, and how long the rest will take at the mean pace."""
        self._end(runner)(runner, batch_idx)

    def before_val_iter(self, runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
        """As for training."""
        self._arrival(runner, "val")(runner, batch_idx)

    def before_test_iter(self, runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
        """As for training."""
        self._arrival(runner, "test")(runner, batch_idx)

    def after_val_iter(
        self, runner: Engine, batch_idx: int, data_batch: Batch = None, outputs: Any = None
    ) -> None:
        """As for training; the end is that of this pass."""
        self._end_of_eval(runner, "val")(runner, batch_idx)

    def after_test_iter(
        self, runner: Engine, batch_idx: int, data_batch: Batch = None, outputs: Any = None
    ) -> None:
        """As for training; the end is that of this pass."""
        self._end_of_eval(runner, "test")(runner, batch_idx)

    def bound_at(self, point: str, runner: Engine) -> Callable[..., None] | None:
        """The methods above, with the places that they write to looked up once."""
        if point in ("before_train_iter", "before_val_iter", "before_test_iter"):
            return self._arrival(runner, point.split("_")[1])
        if point == "after_train_iter":
            return self._end(runner)
        if point in ("after_val_iter", "after_test_iter"):
            return self._end_of_eval(runner, point.split("_")[1])
        return super().bound_at(point, runner)

    def _arrival(self, runner: Engine, mode: str) -> Callable[..., None]:
        columns, name = Columns(runner.message_hub), f"{mode}/data_time"

        def arrive(runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
            columns[name].append(perf_counter() - self._iter_end_s)

        return arrive

    def _end(self, runner: Engine) -> Callable[..., None]:
        hub = runner.message_hub
        columns, facts = Columns(hub), facts_for(hub, "eta")

        def end(
            runner: Engine,
            batch_idx: int,
            data_batch: Batch = None,
            outputs: dict[str, Any] | None = None,
        ) -> None:
            now_s = perf_counter()
            elapsed_s = now_s - self._iter_end_s
            self._iter_end_s = now_s
            self._train_s = train_s = self._train_s + elapsed_s
            self._train_iters = train_iters = self._train_iters + 1
            self._iters_left = iters_left = self._iters_left - 1
            column = columns["train/time"]
            column.append(elapsed_s)
            facts["eta"] = train_s / train_iters * iters_left
            if len(column) >= FULL:
                hub.settle()

        return end

    def _end_of_eval(self, runner: Engine, mode: str) -> Callable[..., None]:
        hub = runner.message_hub
        columns, name, facts = Columns(hub), f"{mode}/time", facts_for(hub, "eta")

        def end(
            runner: Engine, batch_idx: int, data_batch: Batch = None, outputs: Any = None
        ) -> None:
            now_s = perf_counter()
            elapsed_s = now_s - self._iter_end_s
            self._iter_end_s = now_s
            self._eval_s = eval_s = self._eval_s + elapsed_s
            column = columns[name]
            column.append(elapsed_s)
            done = batch_idx + 1
            facts["eta"] = eval_s / done * (self._eval_batches - done)
            if len(column) >= FULL:
                hub.settle()

        return end
