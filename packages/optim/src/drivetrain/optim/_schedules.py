"""The schedules, for any key of the parameter groups.

Each is written as a step from the present value to the next one. Where nothing else changes the
value, step ``t`` of a schedule has the closed form that its docstring gives, with ``v`` for the
initial value and ``T`` for ``end - begin - 1``, the last step of its range.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from drivetrain.optim._errors import ScheduleError
from drivetrain.optim._scheduler import INF, _ParamScheduler
from drivetrain.registry import PARAM_SCHEDULERS


def _in_unit_range(schedule: _ParamScheduler, **factors: float) -> None:
    for name, factor in factors.items():
        if not 0.0 <= factor <= 1.0:
            raise ScheduleError(
                f"{type(schedule).__name__}: {name} must be between 0 and 1, got {factor}"
            )


def _positive(schedule: _ParamScheduler, **lengths: int) -> None:
    for name, length in lengths.items():
        if length < 1:
            raise ScheduleError(f"{type(schedule).__name__}: {name} must be >= 1, got {length}")


@PARAM_SCHEDULERS.register_module()
class StepParamScheduler(_ParamScheduler):
    """Multiplies the value by ``gamma`` every ``step_size`` steps.

    ``v * gamma ** (t // step_size)``

    Args:
        optimizer: The optimizer, or its wrapper.
        param_name: Key in the parameter groups.
        step_size: Steps between two decays.
        gamma: Factor of each decay.
        begin: First step to act on.
        end: First step not to act on any more.
        last_step: Steps that lie behind, to go on without a state dict.
        by_epoch: Whether a step is an epoch; otherwise it is an iteration.
        verbose: Log each value that is written.
    """

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        step_size: int,
        gamma: float = 0.1,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        _positive(self, step_size=step_size)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        if self.last_step == 0 or self.last_step % self.step_size != 0:
            return self._values()
        return [value * self.gamma for value in self._values()]

    @classmethod
    def _to_iterations(cls, kwargs: dict[str, Any], epoch_length: int) -> dict[str, Any]:
        return {**kwargs, "step_size": kwargs["step_size"] * epoch_length}


@PARAM_SCHEDULERS.register_module()
class MultiStepParamScheduler(_ParamScheduler):
    """Multiplies the value by ``gamma`` at each milestone.

    ``v * gamma ** n``, where ``n`` milestones are at or before ``t``; one that is listed twice
    counts twice.

    Args:
        optimizer: The optimizer, or its wrapper.
        param_name: Key in the parameter groups.
        milestones: Steps at which to decay, increasing, counted from ``begin``.
        gamma: Factor of each decay.
        last_step: Steps that lie behind, to go on without a state dict.
        begin: First step to act on.
        end: First step not to act on any more.
        by_epoch: Whether a step is an epoch; otherwise it is an iteration.
        verbose: Log each value that is written.
    """

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        milestones: Sequence[int],
        gamma: float = 0.1,
        last_step: int = -1,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if list(milestones) != sorted(milestones):
            raise ScheduleError(
                f"{type(self).__name__}: milestones must increase, got {list(milestones)}"
            )
        self.milestones = dict(Counter(milestones))
        self.gamma = gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        times = self.milestones.get(self.last_step)
        if times is None:
            return self._values()
        factor = self.gamma**times
        return [value * factor for value in self._values()]

    @classmethod
    def _to_iterations(cls, kwargs: dict[str, Any], epoch_length: int) -> dict[str, Any]:
        return {**kwargs, "milestones": [m * epoch_length for m in kwargs["milestones"]]}


@PARAM_SCHEDULERS.register_module()
class ConstantParamScheduler(_ParamScheduler):
    """Multiplies the value by ``factor``, and takes that back at the last step of the range.

    ``v * factor`` for ``t < T``, then ``v``.

    Args:
        optimizer: The optimizer, or its wrapper.
        param_name: Key in the parameter groups.
        factor: Factor, between 0 and 1; 0 cannot be taken back and needs a range without end.
        begin: First step to act on.
        end: First step not to act on any more.
        last_step: Steps that lie behind, to go on without a state dict.
        by_epoch: Whether a step is an epoch; otherwise it is an iteration.
        verbose: Log each value that is written.
    """

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        factor: float = 1.0 / 3,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        _in_unit_range(self, factor=factor)
        self.factor = factor
        self.total_iters = end - begin - 1
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        if self.total_iters == 0:  # the range has one step, which already is its last
            return self._values()
        if self.last_step == 0:
            return [value * self.factor for value in self._values()]
        if self.last_step != self.total_iters:
            return self._values()
        if self.factor == 0.0:
            return list(self.base_values)
        return [value / self.factor for value in self._values()]


@PARAM_SCHEDULERS.register_module()
class ExponentialParamScheduler(_ParamScheduler):
    """Multiplies the value by ``gamma`` at every step: ``v * gamma ** t``.

    Args:
        optimizer: The optimizer, or its wrapper.
        param_name: Key in the parameter groups.
        gamma: Factor of each step.
        begin: First step to act on.
        end: First step not to act on any more.
        last_step: Steps that lie behind, to go on without a state dict.
        by_epoch: Whether a step is an epoch; otherwise it is an iteration.
        verbose: Log each value that is written.
    """

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        gamma: float,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        self.gamma = gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        if self.last_step == 0:
            return self._values()
        return [value * self.gamma for value in self._values()]


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

    Source: Loshchilov and Hutter, SGDR (ICLR 2017), eq. 5, without restarts.
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
            _positive(self, T_max=self.T_max)
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
    the value stays at ``eta_min``.

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

    Source: Loshchilov and Hutter, SGDR (ICLR 2017), eq. 5.
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
        _positive(self, **{f"periods[{index}]": length for index, length in enumerate(periods)})
        self.periods = list(periods)
        self.restart_weights = list(restart_weights)
        self.eta_min = eta_min
        self.eta_min_ratio = eta_min_ratio
        self.cumulative_periods = list(accumulate(periods))
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        index = bisect_right(self.cumulative_periods, self.last_step)
        if index == len(self.periods):
            return [self._floor(base) for base in self.base_values]
        since_restart = self.last_step - (self.cumulative_periods[index] - self.periods[index])
        height = (1 + math.cos(math.pi * since_restart / self.periods[index])) / 2
        weight = self.restart_weights[index]
        return [
            self._floor(base) + (weight * base - self._floor(base)) * height
            for base in self.base_values
        ]

    def _floor(self, base: Any) -> Any:
        return self.eta_min if self.eta_min_ratio is None else base * self.eta_min_ratio

    @classmethod
    def _to_iterations(cls, kwargs: dict[str, Any], epoch_length: int) -> dict[str, Any]:
        return {**kwargs, "periods": [period * epoch_length for period in kwargs["periods"]]}


@PARAM_SCHEDULERS.register_module()
class LinearParamScheduler(_ParamScheduler):
    """Changes a factor of the value along a line.

    ``v * (start_factor + (end_factor - start_factor) * t / T)``; a range of a single step gets
    ``end_factor``.

    Args:
        optimizer: The optimizer, or its wrapper.
        param_name: Key in the parameter groups.
        start_factor: Factor at the first step of the range, between 0 and 1.
        end_factor: Factor at its last step, between 0 and 1.
        begin: First step to act on.
        end: First step not to act on any more.
        last_step: Steps that lie behind, to go on without a state dict.
        by_epoch: Whether a step is an epoch; otherwise it is an iteration.
        verbose: Log each value that is written.
    """

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        _in_unit_range(self, start_factor=start_factor, end_factor=end_factor)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = end - begin - 1
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _factor(self, step: int) -> float:
        if self.total_iters == 0:
            return self.end_factor
        return self.start_factor + (self.end_factor - self.start_factor) * step / self.total_iters

    def _get_value(self) -> list[Any]:
        factor = self._factor(self.last_step)
        if self.last_step == 0:
            return [value * factor for value in self._values()]
        previous = self._factor(self.last_step - 1)
        if previous == 0.0:  # nothing to multiply: start again from the initial values
            return [base * factor for base in self.base_values]
        ratio = factor / previous
        return [value * ratio for value in self._values()]


@PARAM_SCHEDULERS.register_module()
class PolyParamScheduler(_ParamScheduler):
    """Decays the value along a polynomial: ``eta_min + (v - eta_min) * (1 - t / T) ** power``.

    Args:
        optimizer: The optimizer, or its wrapper.
        param_name: Key in the parameter groups.
        eta_min: Value at the last step of the range.
        power: Degree of the polynomial.
        begin: First step to act on.
        end: First step not to act on any more.
        last_step: Steps that lie behind, to go on without a state dict.
        by_epoch: Whether a step is an epoch; otherwise it is an iteration.
        verbose: Log each value that is written.
    """

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        eta_min: float = 0,
        power: float = 1.0,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        self.eta_min = eta_min
        self.power = power
        self.total_iters = end - begin - 1
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        if self.last_step == 0:
            return self._values()
        left = self.total_iters - self.last_step
        ratio = (left / (left + 1)) ** self.power
        floor = self.eta_min
        return [(value - floor) * ratio + floor for value in self._values()]
