"""Signs of life, by which the ranks of a run find out who hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.dist import beat, pause_watch
from drivetrain.runner.hooks._hook import Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


class HeartbeatHook(Hook):
    """Say at each step and stage that this rank goes on; part of every run on several ranks.

    What happens when one does not: see ``hang_timeout`` of ``drivetrain.dist.init_dist``, an entry
    of ``env_cfg.dist_cfg``.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Engine) -> None:
        """The watch begins."""
        beat("preparation")

    def after_run(self, runner: Engine) -> None:
        """What the program does now is its own."""
        pause_watch()

    def before_train(self, runner: Engine) -> None:
        """Training begins."""
        beat("training")

    def before_val(self, runner: Engine) -> None:
        """A validation begins."""
        beat("validation")

    def after_val(self, runner: Engine) -> None:
        """A validation is over."""
        beat("training" if runner.is_training else "the end of validation")

    def before_test(self, runner: Engine) -> None:
        """A test begins."""
        beat("test")

    def after_test(self, runner: Engine) -> None:
        """A test is over."""
        beat("the end of the test")

    def after_train(self, runner: Engine) -> None:
        """Training is over."""
        beat("the end of training")

    def after_train_iter(
        self, runner: Engine, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """A step is done."""
        beat()

    def after_val_iter(
        self, runner: Engine, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """A step is done."""
        beat()

    def after_test_iter(
        self, runner: Engine, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """A step is done."""
        beat()

    def before_save_checkpoint(self, runner: Engine, checkpoint: dict[str, Any]) -> None:
        """A checkpoint is about to be written."""
        beat()
