"""The schedules, for the momentum."""

from __future__ import annotations

from typing import Any

from drivetrain.optim._cosine import CosineAnnealingParamScheduler, CosineRestartParamScheduler
from drivetrain.optim._errors import ParamGroupKeyError
from drivetrain.optim._one_cycle import OneCycleParamScheduler
from drivetrain.optim._reduce_on_plateau import ReduceOnPlateauParamScheduler
from drivetrain.optim._scheduler import unchanged_on_error
from drivetrain.optim._schedules import (
    ConstantParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    PolyParamScheduler,
    StepParamScheduler,
)
from drivetrain.registry import PARAM_SCHEDULERS


class MomentumSchedulerMixin:
    """Makes a schedule one of the momentum.

    Optimizers with ``betas`` have no ``momentum``: their first beta is scheduled.

    Args:
        optimizer: The optimizer, or its wrapper.
        *args: Arguments of the schedule, without ``param_name``.
        **kwargs: Arguments of the schedule.

    Raises:
        ParamGroupKeyError: If the optimizer has neither momentum nor betas.
    """

    def __init__(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        defaults = optimizer.defaults
        if "momentum" not in defaults and "betas" not in defaults:
            raise ParamGroupKeyError(
                f"{type(self).__name__}: the optimizer has neither 'momentum' nor 'betas'; "
                f"it has {', '.join(sorted(defaults))}"
            )
        self.use_betas = "momentum" not in defaults
        with unchanged_on_error(optimizer):
            if self.use_betas:
                for group in optimizer.param_groups:
                    group["momentum"] = group["betas"][0]
            super().__init__(optimizer, "momentum", *args, **kwargs)  # type: ignore[call-arg]  # a schedule follows

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Go on by one step, and write the value where the optimizer reads it.

        Args:
            *args: Arguments of the schedule, none for most.
            **kwargs: Arguments of the schedule; metrics for one that watches them.
        """
        super().step(*args, **kwargs)  # type: ignore[misc]  # a schedule follows
        if self.use_betas:
            for group in self.optimizer.param_groups:  # type: ignore[attr-defined]  # as above
                group["betas"] = (group["momentum"], *group["betas"][1:])


@PARAM_SCHEDULERS.register_module()
class ConstantMomentum(MomentumSchedulerMixin, ConstantParamScheduler):
    """The momentum by a constant factor, taken back at the end of the range.

    See :class:`ConstantParamScheduler`.
    """


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingMomentum(MomentumSchedulerMixin, CosineAnnealingParamScheduler):
    """The momentum by half a cosine; see :class:`CosineAnnealingParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class CosineRestartMomentum(MomentumSchedulerMixin, CosineRestartParamScheduler):
    """The momentum by half a cosine that starts anew after each period.

    See :class:`CosineRestartParamScheduler`.
    """


@PARAM_SCHEDULERS.register_module()
class ExponentialMomentum(MomentumSchedulerMixin, ExponentialParamScheduler):
    """The momentum by a constant factor at every step; see :class:`ExponentialParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class LinearMomentum(MomentumSchedulerMixin, LinearParamScheduler):
    """The momentum by a factor that changes along a line; see :class:`LinearParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class MultiStepMomentum(MomentumSchedulerMixin, MultiStepParamScheduler):
    """The momentum by a decay at each milestone; see :class:`MultiStepParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class OneCycleMomentum(MomentumSchedulerMixin, OneCycleParamScheduler):
    """The momentum by one cycle; see :class:`OneCycleParamScheduler`.

    Beside a one-cycle learning rate the momentum goes down and up again. From 0.95 to 0.85 and
    back to 0.95: ``eta_max=0.85, div_factor=0.85 / 0.95, final_div_factor=1``.
    """


@PARAM_SCHEDULERS.register_module()
class PolyMomentum(MomentumSchedulerMixin, PolyParamScheduler):
    """The momentum by a polynomial decay; see :class:`PolyParamScheduler`."""


@PARAM_SCHEDULERS.register_module()
class ReduceOnPlateauMomentum(MomentumSchedulerMixin, ReduceOnPlateauParamScheduler):
    """The momentum by a reduction when a metric stops improving.

    See :class:`ReduceOnPlateauParamScheduler`.
    """


@PARAM_SCHEDULERS.register_module()
class StepMomentum(MomentumSchedulerMixin, StepParamScheduler):
    """The momentum by a decay every so many steps; see :class:`StepParamScheduler`."""
