"""The schedules along a cosine, once or with restarts.

In their closed forms ``v`` is the initial value, and ``t`` counts the steps since ``begin``.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from drivetrain.optim._errors import ScheduleError
from drivetrain.optim._scheduler import INF, _ParamScheduler, require_positive
from drivetrain.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingParamScheduler(_ParamScheduler):
    """Follows half a cosine from the initial value down to ``eta_min``, and back up.

    ``eta_min + (v - eta_min) * (1 + cos(pi * t / T_max)) / 2``

    Args:
        optimizer: The optimizer, or its wrapper.
        param_name: Key in the parameter groups.
        T_max: Steps from top to bottom; ``None`` takes ``end - begin``.
        eta_min: Value at the bottom.
        begin: First step to act on.
        end: First step not to act on any more.
        last_step: Steps that lie behind, to go on without a state dict.
        by_epoch: Whether a step is an epoch; otherwise it is an iteration.
        verbose: Log each value that is written.
        eta_min_ratio: Value at the bottom as a share of each group's initial value; instead of
            ``eta_min``.

    Raises:
        ScheduleError: If neither ``T_max`` nor ``end`` is given, ``T_max`` is not positive, or
            ``eta_min`` and ``eta_min_ratio`` are both given.

    Source: Loshchilov and Hutter, SGDR (ICLR 2017), arXiv:1608.03983, eq. 5, without restarts.
    """

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        T_max: int | None = None,
        eta_min: float | None = None,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
        eta_min_ratio: float | None = None,
    ) -> None:
        if T_max is None and end >= INF:
            raise ScheduleError(
                f"{type(self).__name__}: T_max is missing, and cannot be end - begin, because "
                "there is no end. Give one of them."
            )
        if eta_min is not None and eta_min_ratio is not None:
            raise ScheduleError(
                f"{type(self).__name__}: eta_min and eta_min_ratio exclude each other"
            )
        self.T_max = end - begin if T_max is None else T_max
        if end > begin:
            require_positive(self, T_max=self.T_max)
        self.eta_min = 0.0 if eta_min is None else eta_min
        self.eta_min_ratio = eta_min_ratio
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _floors(self) -> list[Any]:
        if self.eta_min_ratio is None:
            return [self.eta_min] * len(self.base_values)
        return [base * self.eta_min_ratio for base in self.base_values]

    def _get_value(self) -> list[Any]:
        t, period = self.last_step, self.T_max
        values = self._values()
        if t == 0:
            return values
        if (t - 1 - period) % (2 * period) == 0:  # leaving the bottom, where the ratio is 0 / 0
            rise = (1 - math.cos(math.pi / period)) / 2
            return [
                value + (base - floor) * rise
                for value, base, floor in zip(values, self.base_values, self._floors(), strict=True)
            ]
        ratio = (1 + math.cos(math.pi * t / period)) / (1 + math.cos(math.pi * (t - 1) / period))
        return [
            ratio * (value - floor) + floor
            for value, floor in zip(values, self._floors(), strict=True)
        ]

    @classmethod
    def _to_iterations(cls, kwargs: dict[str, Any], epoch_length: int) -> dict[str, Any]:
        if kwargs.get("T_max") is None:
            return kwargs
        return {**kwargs, "T_max": kwargs["T_max"] * epoch_length}


@PARAM_SCHEDULERS.register_module()
class CosineRestartParamScheduler(_ParamScheduler):
    """Follows half a cosine in each period, and starts anew at its end.

    In period ``i``, ``s`` steps after its start:
    ``eta_min + (w_i * v - eta_min) * (1 + cos(pi * s / periods[i])) / 2``. After the last period
    the value stays where it is. A restart begins at ``w_i * v``, whatever other schedules of this
    setting have done to it by then.

    Args:
        optimizer: The optimizer, or its wrapper.
        param_name: Key in the parameter groups.
        periods: Steps in each period.
        restart_weights: ``w``, the factor of the initial value at the start of each period.
        eta_min: Value at the bottom.
        eta_min_ratio: Value at the bottom as a share of each group's initial value; instead of
            ``eta_min``.
        begin: First step to act on.
        end: First step not to act on any more.
        last_step: Steps that lie behind, to go on without a state dict.
        by_epoch: Whether a step is an epoch; otherwise it is an iteration.
        verbose: Log each value that is written.

    Raises:
        ScheduleError: If ``periods`` and ``restart_weights`` differ in length, a period is not
            positive, or not exactly one of ``eta_min`` and ``eta_min_ratio`` is given.

    Source: Loshchilov and Hutter, SGDR (ICLR 2017), arXiv:1608.03983, eq. 5; the weights are an
    addition.
    """

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        periods: Sequence[int],
        restart_weights: Sequence[float] = (1,),
        eta_min: float | None = None,
        eta_min_ratio: float | None = None,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if len(periods) != len(restart_weights):
            raise ScheduleError(
                f"{type(self).__name__}: periods and restart_weights must be of one length, got "
                f"{len(periods)} and {len(restart_weights)}"
            )
        if (eta_min is None) == (eta_min_ratio is None):
            raise ScheduleError(
                f"{type(self).__name__}: give exactly one of eta_min and eta_min_ratio"
            )
        require_positive(
            self, **{f"periods[{index}]": length for index, length in enumerate(periods)}
        )
        self.periods = list(periods)
        self.restart_weights = list(restart_weights)
        self.eta_min = eta_min
        self.eta_min_ratio = eta_min_ratio
        self.cumulative_periods = list(accumulate(periods))
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        values = self._values()
        index = bisect_right(self.cumulative_periods, self.last_step)
        if index == len(self.periods):
            return values
        since_restart = self.last_step - (self.cumulative_periods[index] - self.periods[index])
        if since_restart == 0:
            return [base * self.restart_weights[index] for base in self.base_values]
        angle = math.pi / self.periods[index]
        ratio = (1 + math.cos(angle * since_restart)) / (1 + math.cos(angle * (since_restart - 1)))
        floors = map(self._floor, self.base_values)
        return [
            (value - floor) * ratio + floor for value, floor in zip(values, floors, strict=True)
        ]

    def _floor(self, base: Any) -> Any:
        return self.eta_min if self.eta_min_ratio is None else base * self.eta_min_ratio

    @classmethod
    def _to_iterations(cls, kwargs: dict[str, Any], epoch_length: int) -> dict[str, Any]:
        return {**kwargs, "periods": [period * epoch_length for period in kwargs["periods"]]}
