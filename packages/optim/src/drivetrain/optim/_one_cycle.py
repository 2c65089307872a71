"""The one-cycle policy: up to a peak, then down to far below the start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from drivetrain.optim._errors import ScheduleError
from drivetrain.optim._scheduler import INF, _ParamScheduler, unchanged_on_error
from drivetrain.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class OneCycleParamScheduler(_ParamScheduler):
    """Goes from ``eta_max / div_factor`` up to ``eta_max``, then far down.

    The floor is ``eta_max / div_factor / final_div_factor``. Values are set from the step alone:
    this schedule does not combine with another one of the same setting in the same range.

    Args:
        optimizer: The optimizer, or its wrapper.
        param_name: Key in the parameter groups.
        eta_max: Peak; a number, or one for each parameter group.
        total_steps: Steps of the cycle; ``None`` takes ``end - begin``.
        pct_start: Share of the cycle that goes up.
        anneal_strategy: ``'cos'`` or ``'linear'``.
        div_factor: Peak over start.
        final_div_factor: Start over floor.
        three_phase: Come down to the start as fast as it went up, then go on to the floor;
            otherwise go down to the floor in one phase.
        begin: First step to act on.
        end: First step not to act on any more.
        last_step: Steps that lie behind, to go on without a state dict.
        by_epoch: Whether a step is an epoch; otherwise it is an iteration.
        verbose: Log each value that is written.

    Raises:
        ScheduleError: If ``total_steps``, ``pct_start``, ``anneal_strategy``, a divisor or the
            number of peaks cannot be.

    Source: Smith and Topin, Super-Convergence (2017), arXiv:1708.07120.
    """

    def __init__(
        self,
        optimizer: Any,
        param_name: str,
        eta_max: float | Sequence[float] = 0,
        total_steps: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        name = type(self).__name__
        self.total_steps = end - begin if total_steps is None else total_steps
        if isinstance(self.total_steps, bool) or not isinstance(self.total_steps, int):
            raise ScheduleError(f"{name}: total_steps must be an integer, got {total_steps!r}")
        if self.total_steps < 1:
            raise ScheduleError(f"{name}: total_steps must be >= 1, got {self.total_steps}")
        if not 0.0 <= pct_start <= 1.0:
            raise ScheduleError(f"{name}: pct_start must be between 0 and 1, got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ScheduleError(
                f"{name}: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}"
            )
        for option, ratio in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if not ratio > 0:
                raise ScheduleError(f"{name}: {option} must be above 0, got {ratio}")
        self.anneal_strategy = anneal_strategy
        self._phases = _phases(param_name, self.total_steps, pct_start, three_phase)
        with unchanged_on_error(optimizer):
            if last_step == -1:
                _set_levels(optimizer, param_name, eta_max, div_factor, final_div_factor)
            super().__init__(optimizer, param_name, begin, end, last_step, by_epoch, verbose)

    def _get_value(self) -> list[Any]:
        if self.last_step >= self.total_steps:
            return self._values()  # the cycle is over; its floor stays
        phases = self._phases
        index = next((i for i, p in enumerate(phases) if self.last_step <= p[0]), len(phases) - 1)
        start_step = phases[index - 1][0] if index else 0.0
        end_step, start_key, end_key = phases[index]
        length = end_step - start_step
        share = (self.last_step - start_step) / length if length else 1.0
        if self.anneal_strategy == "cos":
            share = (1 - math.cos(math.pi * share)) / 2
        return [
            group[start_key] + (group[end_key] - group[start_key]) * share
            for group in self.optimizer.param_groups
        ]

    @classmethod
    def _to_iterations(cls, kwargs: dict[str, Any], epoch_length: int) -> dict[str, Any]:
        if kwargs.get("total_steps") is None:
            return kwargs
        return {**kwargs, "total_steps": kwargs["total_steps"] * epoch_length}


def _phases(
    param_name: str, total_steps: int, pct_start: float, three_phase: bool
) -> list[tuple[float, str, str]]:
    """Return last step, group key of the start value, and group key of the end value, of each."""
    start, peak, floor = (f"{level}_{param_name}" for level in ("initial", "max", "min"))
    if three_phase:
        return [
            (pct_start * total_steps - 1, start, peak),
            (2 * pct_start * total_steps - 2, peak, start),
            (total_steps - 1, start, floor),
        ]
    return [(pct_start * total_steps - 1, start, peak), (total_steps - 1, peak, floor)]


def _set_levels(
    optimizer: Any,
    param_name: str,
    eta_max: float | Sequence[float],
    div_factor: float,
    final_div_factor: float,
) -> None:
    given = [eta_max] if isinstance(eta_max, int | float) else list(eta_max)
    if any(math.isnan(number) for number in (*given, div_factor, final_div_factor)):
        raise ScheduleError(
            f"OneCycle: eta_max, div_factor and final_div_factor must be numbers, got {eta_max}, "
            f"{div_factor} and {final_div_factor}"
        )
    groups = optimizer.param_groups
    peaks = list(eta_max) if isinstance(eta_max, Sequence) else [eta_max] * len(groups)
    if len(peaks) != len(groups):
        raise ScheduleError(
            f"one-cycle schedule of {param_name!r}: eta_max has {len(peaks)} values for "
            f"{len(groups)} parameter groups"
        )
    for group, peak in zip(groups, peaks, strict=True):
        group[f"initial_{param_name}"] = peak / div_factor
        group[f"max_{param_name}"] = peak
        group[f"min_{param_name}"] = peak / div_factor / final_div_factor
