"""Stopping a training that no longer gets better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from drivetrain.registry import HOOKS
from drivetrain.runner._errors import MetricNotFoundError
from drivetrain.runner.hooks._best_score import BestScore, Rule
from drivetrain.runner.hooks._hook import Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class EarlyStoppingHook(Hook):
    """Stop training when a metric has not improved for ``patience`` validations.

    Args:
        monitor: Name of the metric.
        rule: ``"greater"``, ``"less"``, or None to infer it from the name.
        min_delta: A value counts as an improvement only if it is better by more than this.
        strict: Raise when the metric is missing, instead of warning and going on.
        check_finite: Stop at once when the metric is not a finite number.
        patience: Validations without an improvement before training stops.
        stopping_threshold: Stop at once when the metric is at least this good.
    """

    priority = "LOWEST"

    def __init__(
        self,
        monitor: str,
        rule: Rule | None = None,
        min_delta: float = 0.1,
        strict: bool = False,
        check_finite: bool = True,
        patience: int = 5,
        stopping_threshold: float | None = None,
    ) -> None:
        if patience < 1:
            raise ValueError(
                f"EarlyStoppingHook: patience is at least 1 validation, got {patience}"
            )
        self.monitor = monitor
        self.min_delta = abs(min_delta)
        self.strict = strict
        self.check_finite = check_finite
        self.patience = patience
        self.stopping_threshold = stopping_threshold
        self._best = BestScore(monitor, rule, min_delta=self.min_delta)
        self.wait_count = 0

    def after_val_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """Compare, count, and stop if it is time."""
        if not runner.is_training:
            return
        try:
            value = self._best.read(metrics or {}, "EarlyStoppingHook")
        except MetricNotFoundError as err:
            if self.strict:
                raise
            runner.logger.warning(f"{err}\n  Early stopping skips this validation.")
            return
        reason = self._judge(value)
        if reason is not None:
            runner.logger.info(f"Stopping early: {reason}.")
            runner.train_loop.stop_training = True

    def _judge(self, value: float) -> str | None:
        """Why training should stop, or None."""
        if self.check_finite and not math.isfinite(value):
            return f"{self.monitor} is {value}"
        if self._best.is_better(value):
            self._best.value = value
            self.wait_count = 0
        else:
            self.wait_count += 1
        if self._reached(value):
            return (
                f"{self.monitor} is {value:.6g}, the threshold {self.stopping_threshold} is reached"
            )
        if self.wait_count >= self.patience:
            return (
                f"{self.monitor} has not improved on {self._best.value:.6g} "
                f"in {self.wait_count} validations"
            )
        return None

    def _reached(self, value: float) -> bool:
        if self.stopping_threshold is None:
            return False
        if self._best.rule == "greater":
            return value >= self.stopping_threshold
        return value <= self.stopping_threshold

    def state_dict(self) -> dict[str, Any]:
        """Best value so far, and for how many validations it has stood."""
        return {"best": self._best.value, "wait_count": self.wait_count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self._best.value = state["best"]
        self.wait_count = state["wait_count"]
