"""The schedules, for the learning rate."""

from __future__ import annotations

from typing import Any

from drivetrain.optim._cosine import CosineAnnealingParamScheduler, CosineRestartParamScheduler
from drivetrain.optim._one_cycle import OneCycleParamScheduler
from drivetrain.optim._reduce_on_plateau import ReduceOnPlateauParamScheduler
from drivetrain.optim._schedules import (
    ConstantParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    PolyParamScheduler,
    StepParamScheduler,
)
from drivetrain.registry import PARAM_SCHEDULERS


class LRSchedulerMixin:
    """Makes a schedule one of the learning rate.

    Args:
        optimizer: The optimizer, or its wrapper.
        *args: Arguments of the schedule, without ``param_name``.
        **kwargs: Arguments of the schedule.
    """

    def __init__(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, "lr", *args, **kwargs)  # type: ignore[call-arg]  # a schedule follows


@PARAM_SCHEDULERS.register_module()
class ConstantLR(LRSchedulerMixin, ConstantParamScheduler):
    """The learning rate by a constant factor, taken back at the end of the range.

    See :class:`ConstantParamScheduler`.
    """


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingLR(LRSchedulerMixin, CosineAnnealingParamScheduler):
    """The learning rate by half a cosine; see :class:`CosineAnnealingParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class CosineRestartLR(LRSchedulerMixin, CosineRestartParamScheduler):
    """The learning rate by half a cosine that starts anew after each period.

    See :class:`CosineRestartParamScheduler`.
    """


@PARAM_SCHEDULERS.register_module()
class ExponentialLR(LRSchedulerMixin, ExponentialParamScheduler):
    """The learning rate by a constant factor at every step.

    See :class:`ExponentialParamScheduler`.
    """


@PARAM_SCHEDULERS.register_module()
class LinearLR(LRSchedulerMixin, LinearParamScheduler):
    """The learning rate by a factor that changes along a line.

    See :class:`LinearParamScheduler`.
    """


@PARAM_SCHEDULERS.register_module()
class MultiStepLR(LRSchedulerMixin, MultiStepParamScheduler):
    """The learning rate by a decay at each milestone; see :class:`MultiStepParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class OneCycleLR(LRSchedulerMixin, OneCycleParamScheduler):
    """The learning rate by one cycle up and far down; see :class:`OneCycleParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class PolyLR(LRSchedulerMixin, PolyParamScheduler):
    """The learning rate by a polynomial decay; see :class:`PolyParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauLR(LRSchedulerMixin, ReduceOnPlateauParamScheduler):
    """The learning rate by a reduction when a metric stops improving.

    See :class:`ReduceOnPlateauParamScheduler`.
    """


@PARAM_SCHEDULERS.register_module()
class StepLR(LRSchedulerMixin, StepParamScheduler):
    """The learning rate by a decay every so many steps; see :class:`StepParamScheduler`."""
