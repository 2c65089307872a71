"""The schedules, for any key of the parameter groups.

Each is written as a step from the present value to the next one. Where nothing else changes the
value, step ``t`` of a schedule has the closed form that its docstring gives, with ``v`` for the
initial value and ``T`` for ``end - begin - 1``, the last step of its range.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from drivetrain.optim._errors import ScheduleError
from drivetrain.optim._scheduler import (
    INF,
    _ParamScheduler,
    require_not_negative,
    require_positive,
)
from drivetrain.registry import PARAM_SCHEDULERS


def _in_unit_range(schedule: _ParamScheduler, **factors: float) -> None:
    for name, factor in factors.items():
        if not 0.0 <= factor <= 1.0:
            raise ScheduleError(
                f"{type(schedule).__name__}: {name} must be between 0 and 1, got {factor}"
            )


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

    Raises:
        ScheduleError: If ``step_size`` is not positive, or ``gamma`` negative.
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
        require_positive(self, step_size=step_size)
        self.step_size = step_size
        require_not_negative(self, gamma=gamma)
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

    Raises:
        ScheduleError: If ``milestones`` is no sequence of integers, is not in order, or has a
            negative one, or ``gamma`` is negative.
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
        if not isinstance(milestones, Sequence) or not all(
            isinstance(m, Integral) for m in milestones
        ):
            raise ScheduleError(
                f"{type(self).__name__}: milestones must be a list of integers, got {milestones!r}"
            )
        if list(milestones) != sorted(milestones) or any(m < 0 for m in milestones):
            raise ScheduleError(
                f"{type(self).__name__}: milestones must increase, and none be negative, "
                f"got {list(milestones)}"
            )
        self.milestones = dict(Counter(milestones))
        require_not_negative(self, gamma=gamma)
        self.gamma = gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        times = self.milestones.get(self.last_step)
        if times is None:
            return self._values()
        factor = self.gamma**times
        return [value * factor for value in self._values()]

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; also after a trip through JSON."""
        super().load_state_dict(state_dict)
        self.milestones = {int(step): times for step, times in self.milestones.items()}

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

    Raises:
        ScheduleError: If ``factor`` is not between 0 and 1.

    Source: Goyal et al., Accurate, Large Minibatch SGD (2017), arXiv:1706.02677, section 2.2,
    constant warmup.
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

    Raises:
        ScheduleError: If ``gamma`` is negative.
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
        require_not_negative(self, gamma=gamma)
        self.gamma = gamma
        super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        if self.last_step == 0:
            return self._values()
        return [value * self.gamma for value in self._values()]


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

    Raises:
        ScheduleError: If a factor is not between 0 and 1.

    Source: Goyal et al., Accurate, Large Minibatch SGD (2017), arXiv:1706.02677, section 2.2,
    gradual warmup.
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

    Raises:
        ScheduleError: If ``power`` is negative.

    Source: Chen et al., DeepLab (2016), arXiv:1606.00915, the "poly" policy, there with a floor of
    0.
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
        require_not_negative(self, power=power)
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
