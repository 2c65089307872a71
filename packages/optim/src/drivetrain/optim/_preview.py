"""What schedules will do, without training."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from drivetrain.optim._errors import OptimTypeError, ScheduleError
from drivetrain.optim._optim_wrapper import BaseOptimWrapper
from drivetrain.optim._scheduler import _ParamScheduler

Curves = dict[str, list[list[float]]]


def preview(
    schedulers: _ParamScheduler | Iterable[_ParamScheduler],
    steps: int,
    *,
    epoch_length: int | None = None,
) -> Curves:
    """Return the values that schedules will give, from where they are now.

    Neither schedules nor optimizers are changed. A schedule that waits for metrics does nothing.

    Args:
        schedulers: One schedule, or all that act on one optimizer, in the order of the run.
        steps: Number of iterations; or of epochs, where all schedules go by epoch and
            ``epoch_length`` is not given.
        epoch_length: Iterations in an epoch: after so many, schedules by epoch go on.

    Returns:
        For each scheduled setting, at each step, the value of each parameter group.

    Raises:
        OptimTypeError: If something is no schedule.
        ScheduleError: If schedules by epoch and by iteration are mixed without ``epoch_length``,
            or a length is negative.

    Example:
        >>> import torch
        >>> sgd = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> from drivetrain.optim import LinearLR
        >>> preview(LinearLR(sgd, start_factor=0.5, end=3), 4)
        {'lr': [[0.5], [0.75], [1.0], [1.0]]}
    """
    originals = [schedulers] if isinstance(schedulers, _ParamScheduler) else list(schedulers)
    for scheduler in originals:
        if not isinstance(scheduler, _ParamScheduler):
            raise OptimTypeError(f"preview: needs schedules, got {type(scheduler).__name__}")
    if steps < 0:
        raise ScheduleError(f"preview: steps must not be negative, got {steps}")
    if epoch_length is not None and epoch_length < 1:
        raise ScheduleError(f"preview: epoch_length must be >= 1, got {epoch_length}")
    if epoch_length is None and len({scheduler.by_epoch for scheduler in originals}) > 1:
        raise ScheduleError(
            "preview: some schedules go by epoch and some by iteration; give epoch_length"
        )
    copies = _copies(originals)
    curves: Curves = {scheduler.param_name: [] for scheduler in copies}
    groups = {scheduler.param_name: scheduler.optimizer.param_groups for scheduler in copies}
    for step in range(steps):
        for key, curve in curves.items():
            curve.append([float(group[key]) for group in groups[key]])
        for scheduler in copies:
            ends_epoch = epoch_length is None or (step + 1) % epoch_length == 0
            if (ends_epoch or not scheduler.by_epoch) and not hasattr(scheduler, "need_val_args"):
                scheduler.step()
    return curves


class _Shadow(BaseOptimWrapper):
    """Parameter groups to write to, in place of an optimizer's."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__(self)
        self._groups = [
            {
                key: value.clone() if isinstance(value, Tensor) else value
                for key, value in group.items()
                if key != "params"
            }
            for group in groups
        ]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self._groups

    def update_params(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("a preview updates nothing")

    backward = zero_grad = step = update_params


def _copies(originals: list[_ParamScheduler]) -> list[_ParamScheduler]:
    shadows: dict[int, _Shadow] = {}
    copies = []
    for original in originals:
        optimizer = original.optimizer
        shadow = shadows.setdefault(id(optimizer), _Shadow(optimizer.param_groups))
        duplicate = copy.copy(original)
        duplicate.optimizer = shadow
        duplicate.verbose = False
        copies.append(duplicate)
    return copies
