"""What all schedules share: which steps they act on, and what they write where."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isnan
from typing import Any, TypeVar

from torch import Tensor
from torch.optim import Optimizer

from drivetrain.logging import print_log
from drivetrain.optim._errors import (
    OptimStateError,
    OptimTypeError,
    ParamGroupKeyError,
    ScheduleError,
    nearest,
)
from drivetrain.optim._optim_wrapper import BaseOptimWrapper

#: The end of a schedule that does not end.
INF = int(1e9)

_S = TypeVar("_S", bound="_ParamScheduler")


class _ParamScheduler(ABC):
    """Writes one setting of all parameter groups, step by step.

    A subclass says in :meth:`_get_value` how the value of each group follows from the present
    one, so that several schedules of one setting multiply where their ranges overlap.
    Construction takes the first step: it writes the value of step 0.

    Args:
        optimizer: The optimizer, or its wrapper.
        param_name: Key in the parameter groups, such as ``'lr'`` or ``'weight_decay'``.
        begin: First step to act on, in epochs or iterations (see ``by_epoch``).
        end: First step not to act on any more.
        last_step: Steps of this schedule that lie behind, to go on without a state dict; ``-1``
            starts anew.
        by_epoch: Whether a step is an epoch; otherwise it is an iteration.
        verbose: Log each value that is written.

    Raises:
        OptimTypeError: If ``optimizer`` is neither optimizer nor wrapper.
        ScheduleError: If ``end`` is not after ``begin``, or ``last_step`` is below -1.
        ParamGroupKeyError: If the groups have no ``param_name``, or (with ``last_step``) no
            initial value of it.
    """

    def __init__(
        self,
        optimizer: Optimizer | BaseOptimWrapper,
        param_name: str,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if not isinstance(optimizer, Optimizer | BaseOptimWrapper):
            raise OptimTypeError(
                f"{type(self).__name__}: optimizer must be an optimizer or its wrapper, "
                f"got {type(optimizer).__name__}"
            )
        if isinstance(optimizer.param_groups, dict):
            raise OptimTypeError(
                f"{type(self).__name__}: there are several optimizers, "
                f"{', '.join(optimizer.param_groups)}; schedule one of them by its name, or let "
                "build_param_schedulers do it"
            )
        self._check_range(begin, end, last_step)
        for name, value in vars(self).items():  # those of the subclass, which sets them first
            if any(isinstance(n, float) and isnan(n) for n in _numbers_in(value)):
                raise ScheduleError(f"{type(self).__name__}: {name} must be a number, got {value}")
        self.optimizer = optimizer
        self.param_name = param_name
        self.begin = begin
        self.end = end
        self.by_epoch = by_epoch
        with unchanged_on_error(optimizer):
            self.base_values = self._initial_values(fresh=last_step == -1)
        self.last_step = last_step
        self.verbose = verbose
        self._global_step = -1
        self._last_value: list[Any] = []
        self.step()

    def _check_range(self, begin: int, end: int, last_step: int) -> None:
        name = type(self).__name__
        if begin < 0:
            raise ScheduleError(f"{name}: begin must not be negative, got {begin}")
        if end <= begin:
            raise ScheduleError(f"{name}: end must be after begin, got begin={begin}, end={end}")
        if isinstance(last_step, bool) or not isinstance(last_step, int) or last_step < -1:
            raise ScheduleError(f"{name}: last_step must be an integer >= -1, got {last_step!r}")

    def _initial_values(self, fresh: bool) -> list[Any]:
        """Return the value of each group before any schedule touched it, and keep it there."""
        key = f"initial_{self.param_name}"
        values = []
        for index, group in enumerate(self.optimizer.param_groups):
            if self.param_name not in group:
                known = sorted(name for name in group if name != "params")
                raise ParamGroupKeyError(
                    f"{type(self).__name__}: parameter group {index} has no {self.param_name!r}."
                    f"{nearest(self.param_name, known)} It has {', '.join(known)}"
                )
            if fresh:
                value = group[self.param_name]
                group.setdefault(key, value.clone() if isinstance(value, Tensor) else value)
            elif key not in group:
                raise ParamGroupKeyError(
                    f"{type(self).__name__}: last_step is given, but parameter group {index} has "
                    f"no {key!r}. Load the optimizer's state first, or leave last_step out."
                )
            values.append(group[key])
        return values

    @abstractmethod
    def _get_value(self) -> list[Any]:
        """Return the value of each group for step ``self.last_step``, from the present values."""

    def _values(self) -> list[Any]:
        """Return the present value of each group."""
        name = self.param_name
        return [group[name] for group in self.optimizer.param_groups]

    def step(self) -> None:
        """Go on by one step, and write the values where the step lies in the schedule's range."""
        if not self.by_epoch and getattr(self.optimizer, "last_step_skipped", False):
            return  # the update was dropped: it gets its learning rate when it happens
        self._global_step += 1
        if self.begin <= self._global_step < self.end:
            self.last_step += 1
            self._write(self._get_value())
        self._last_value = self._values()

    def _write(self, values: list[Any]) -> None:
        name = self.param_name
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            if isinstance(group[name], Tensor):
                group[name].fill_(value)  # a captured graph reads this very tensor
            else:
                group[name] = value
        if self.verbose:
            for index, value in enumerate(values):
                self.print_value(True, index, value)

    def get_last_value(self) -> list[Any]:
        """Return the value of each group after the latest step."""
        return self._last_value

    def print_value(self, is_verbose: bool, group: int, value: float) -> None:
        """Log the value of a group.

        Args:
            is_verbose: Do nothing where this is false.
            group: Index of the parameter group.
            value: What was written.
        """
        if is_verbose:
            print_log(
                f"Adjusting parameter value of group {group} to {float(value):.4e}.",
                logger="current",
            )

    def state_dict(self) -> dict[str, Any]:
        """Return progress and settings: everything but the optimizer, as plain data."""
        return {key: value for key, value in vars(self).items() if key != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, settings included.

        Where the settings differ from those given at construction, the restored ones win, and
        a warning names them. The values in the parameter groups come with the optimizer's state.

        Args:
            state_dict: What :meth:`state_dict` returned.

        Raises:
            OptimStateError: If the state is that of another kind of scheduler.
        """
        own = self.state_dict()
        missing = [key for key in ("last_step", "_global_step") if key not in state_dict]
        if missing:
            raise OptimStateError(
                f"{type(self).__name__}: the state has no {missing[0]!r}; "
                f"it has {', '.join(map(str, state_dict)) or 'nothing'}"
            )
        progress = {"last_step", "_global_step", "_last_value", "base_values", "verbose"}
        changed = [
            f"{key}: {own[key]!r} -> {state_dict[key]!r}"
            for key in own.keys() & state_dict.keys()
            if key not in progress and _differ(own[key], state_dict[key])
        ]
        if changed:
            print_log(
                f"{type(self).__name__}: the restored schedule replaces what was configured: "
                f"{'; '.join(sorted(changed))}. To follow the new configuration instead, resume "
                "without the schedulers' state.",
                logger="current",
                level=logging.WARNING,
            )
        vars(self).update({key: value for key, value in state_dict.items() if key != "optimizer"})

    @classmethod
    def build_iter_from_epoch(
        cls: type[_S],
        *args: Any,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> _S:
        """Build the same schedule by iteration, from numbers that are given in epochs.

        Args:
            *args: Passed on.
            begin: First epoch to act on.
            end: First epoch not to act on any more.
            by_epoch: Must be true: that is what the numbers mean.
            epoch_length: Iterations in an epoch.
            **kwargs: Passed on; lengths among them are converted.

        Returns:
            The schedule, with ``by_epoch=False``.

        Raises:
            ScheduleError: If ``by_epoch`` is false, or ``epoch_length`` missing or below 1.
        """
        if not by_epoch:
            raise ScheduleError(
                f"{cls.__name__}: only a schedule by epoch can be converted to iterations; "
                "got by_epoch=False"
            )
        if epoch_length is None or epoch_length < 1:
            raise ScheduleError(
                f"{cls.__name__}: conversion to iterations needs epoch_length >= 1, "
                f"got {epoch_length}"
            )
        kwargs = cls._to_iterations(kwargs, epoch_length)
        return cls(
            *args,
            begin=int(begin * epoch_length),
            end=end if end == INF else int(end * epoch_length),
            by_epoch=False,
            **kwargs,
        )

    @classmethod
    def _to_iterations(cls, kwargs: dict[str, Any], epoch_length: int) -> dict[str, Any]:
        """Return ``kwargs`` with every length in epochs turned into iterations."""
        return kwargs


@contextmanager
def unchanged_on_error(optimizer: Any) -> Iterator[None]:
    """Give the parameter groups back as they were, if building a schedule on them fails."""
    groups = getattr(optimizer, "param_groups", None)
    before = [dict(group) for group in groups] if isinstance(groups, list) else []
    try:
        yield
    except Exception:
        for group, settings in zip(groups or (), before, strict=False):
            group.clear()
            group.update(settings)
        raise


def _numbers_in(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _differ(ours: Any, theirs: Any) -> bool:
    return bool(_as_in_a_file(ours) != _as_in_a_file(theirs))


def _as_in_a_file(value: Any) -> Any:
    """What JSON makes of a setting: tuples become lists, and keys text."""
    if isinstance(value, list | tuple):
        return [_as_in_a_file(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _as_in_a_file(item) for key, item in value.items()}
    return value


def require_positive(schedule: _ParamScheduler, **lengths: int) -> None:
    """Refuse a length below 1, by its name."""
    for name, length in lengths.items():
        if length < 1:
            raise ScheduleError(f"{type(schedule).__name__}: {name} must be >= 1, got {length}")


def require_not_negative(schedule: _ParamScheduler, **factors: float) -> None:
    """Refuse a factor or exponent below 0, by its name."""
    for name, factor in factors.items():
        if factor < 0:
            raise ScheduleError(
                f"{type(schedule).__name__}: {name} must not be negative, got {factor}"
            )
