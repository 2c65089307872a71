"""Lower a setting when a metric stops getting better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from drivetrain.optim._errors import OptimTypeError, ParamGroupKeyError, ScheduleError, nearest
from drivetrain.optim._scheduler import INF, _ParamScheduler
from drivetrain.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauParamScheduler(_ParamScheduler):
    """Multiplies the value by ``factor`` when a metric has not improved for ``patience`` steps.

    Step it with the metrics of a validation.

    Args:
        optimizer: The optimizer, or its wrapper.
        param_name: Key in the parameter groups.
        monitor: Name of the metric.
        rule: ``'less'`` if smaller is better, ``'greater'`` if larger is.
        factor: Factor of each reduction, below 1.
        patience: Steps without improvement that are let pass.
        threshold: How much better counts as better.
        threshold_rule: ``'rel'``: as a share of the best; ``'abs'``: as a difference.
        cooldown: Steps after a reduction in which nothing counts as bad.
        min_value: Floor; a number, or one for each parameter group.
        eps: Smaller changes of the value than this are not made.
        begin: First step to act on.
        end: First step not to act on any more.
        last_step: Steps that lie behind, to go on without a state dict.
        by_epoch: Must be true: validations are counted.
        verbose: Log each value that is written.

    Raises:
        ScheduleError: If a rule is unknown, ``factor`` is not between 0 and 1, a count is negative,
            or the number of floors is not that of the groups.
    """

    #: The engine steps this schedule after validation, with its metrics.
    need_val_args = True

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        monitor: str = "loss",
        rule: Literal["less", "greater"] = "less",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_rule: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_value: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        name = type(self).__name__
        if not 0.0 <= factor < 1.0:
            raise ScheduleError(f"{name}: factor must be below 1, and not negative, got {factor}")
        for option, count in (("patience", patience), ("cooldown", cooldown)):
            if count < 0:
                raise ScheduleError(f"{name}: {option} counts validations from 0 on, got {count}")
        if rule not in ("less", "greater"):
            raise ScheduleError(f"{name}: rule must be 'less' or 'greater', got {rule!r}")
        if threshold_rule not in ("rel", "abs"):
            raise ScheduleError(
                f"{name}: threshold_rule must be 'rel' or 'abs', got {threshold_rule!r}"
            )
        if not isinstance(monitor, str):
            raise ScheduleError(f"{name}: monitor must be the name of a metric, got {monitor!r}")
        if not by_epoch:
            raise ScheduleError(f"{name}: by_epoch must be True: it counts validations")
        groups = optimizer.param_groups
        floors = list(min_value) if isinstance(min_value, Sequence) else [min_value] * len(groups)
        if len(floors) != len(groups):
            raise ScheduleError(
                f"{name}: min_value has {len(floors)} values for {len(groups)} parameter groups"
            )
        self.monitor = monitor
        self.rule = rule
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_rule = threshold_rule
        self.cooldown = cooldown
        self.min_values = floors
        self.eps = eps
        self.best = math.inf if rule == "less" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    @property
    def in_cooldown(self) -> bool:
        """Whether a reduction is so recent that bad steps do not count."""
        return self.cooldown_counter > 0

    def step(self, metrics: Mapping[str, Any] | None = None) -> None:
        """Go on by one validation.

        Args:
            metrics: Its metrics; without them (as at construction) nothing is compared.

        Raises:
            ParamGroupKeyError: If ``monitor`` is not among the metrics.
            OptimTypeError: If ``metrics`` is no dict.
        """
        if metrics is None:
            if self._global_step == -1:
                self._global_step = 0
            self._last_value = self._values()
            return
        if not isinstance(metrics, Mapping):
            raise OptimTypeError(
                f"{type(self).__name__}: metrics must be a dict, got {type(metrics).__name__}"
            )
        if self.monitor not in metrics:
            raise ParamGroupKeyError(
                f"{type(self).__name__}: no metric {self.monitor!r}."
                f"{nearest(self.monitor, metrics)} Measured: {', '.join(metrics) or 'none'}"
            )
        self._global_step += 1
        if self.begin <= self._global_step < self.end:
            self.last_step += 1
            self._compare(float(metrics[self.monitor]))
            if self.num_bad_epochs > self.patience:
                self.cooldown_counter = self.cooldown
                self.num_bad_epochs = 0
                self._write(self._get_value())
        self._last_value = self._values()

    def _compare(self, value: float) -> None:
        if self._is_better(value):
            self.best = value
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.rule == "greater" else -1
        if self.threshold_rule == "abs":
            return sign * value > sign * self.best + self.threshold
        if math.isinf(self.best):
            return sign * value > sign * self.best
        return sign * value > sign * self.best * (1 + sign * self.threshold)

    def _get_value(self) -> list[Any]:
        lowered = []
        for value, floor in zip(self._values(), self.min_values, strict=True):
            candidate = max(value * self.factor, floor)
            lowered.append(candidate if value - candidate > self.eps else value)
        return lowered
