"""The live display of a run on a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from drivetrain.dist import is_main_process
from drivetrain.logging import RunProgress
from drivetrain.registry import HOOKS
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show bars for training and the validation inside it, with the figures of the last log line.

    Args:
        enabled: Show them; None means only where the output is an interactive terminal.
    """

    priority = "LOWEST"

    def __init__(self, enabled: bool | None = None) -> None:
        self._enabled = enabled
        self._display = RunProgress(False)
        self._shown: Any = None
        self._score = ""

    def before_run(self, runner: Engine) -> None:
        """Open the display on the main process; the others stay silent."""
        self._display = RunProgress(self._enabled if is_main_process() else False)

    def before_train(self, runner: Engine) -> None:
        """Open the bar of the training, at the position of a resumed run."""
        total = runner.max_iters
        self._start("train", None if total == math.inf else total, runner.iter)

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Move the bar; the text changes when a log line was written."""
        self._display.advance()
        record = getattr(runner.log_processor, "last_made", None)  # somebody's own may have none
        if record is not self._shown:
            self._shown = record or {}
            self._display.describe(f"{_train_text(runner, self._shown)}{self._score}")

    def after_train(self, runner: Engine) -> None:
        """Close the bar of the training."""
        self._finish()

    def before_val_epoch(self, runner: Engine) -> None:
        """Open the bar of a validation."""
        self._start("val", len(runner.val_dataloader))

    def after_val_iter(
        self, runner: Engine, batch_idx: int, data_batch: Batch = None, outputs: Any = None
    ) -> None:
        """Move the bar."""
        self._display.advance()

    def after_val_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """Close the bar, and keep the metrics in sight."""
        self._finish()
        shown = [f"{k} {v:.4f}" for k, v in (metrics or {}).items() if isinstance(v, float)][:2]
        self._score = "".join(f"  val {text}" for text in shown)

    def before_test_epoch(self, runner: Engine) -> None:
        """Open the bar of a test."""
        self._start("test", len(runner.test_dataloader))

    def after_test_iter(
        self, runner: Engine, batch_idx: int, data_batch: Batch = None, outputs: Any = None
    ) -> None:
        """Move the bar."""
        self._display.advance()

    def after_test_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """Close the bar."""
        self._finish()

    def after_run(self, runner: Engine) -> None:
        """Give the terminal back."""
        self.close()

    def close(self) -> None:
        """Give the terminal back; also right after an error."""
        self._display.close()

    def _start(self, phase: str, total: int | None, completed: int = 0) -> None:
        self._display.start(phase, total, completed)

    def _finish(self) -> None:
        self._display.finish()


def _train_text(runner: Engine, record: dict[str, Any]) -> str:
    """What a reader wants beside the bar: epoch, loss, learning rate."""
    parts = [f"epoch {record['epoch']}/{runner.max_epochs}"] if "epoch" in record else []
    parts += [f"{name} {record[name]:.4g}" for name in ("loss", "lr") if name in record]
    return "  ".join(parts)
