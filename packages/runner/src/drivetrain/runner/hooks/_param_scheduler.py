"""Moving learning rates and other optimizer parameters along their schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from drivetrain.registry import HOOKS
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class ParamSchedulerHook(Hook):
    """Step each scheduler after the iterations or the epochs that it counts.

    A scheduler that decides by a metric (``need_val_args``) is stepped after each validation.
    """

    priority = "LOW"

    def __init__(self) -> None:
        self._per_iter: tuple[Any, ...] = ()
        self._per_epoch: tuple[Any, ...] = ()
        self._per_validation: tuple[Any, ...] = ()

    def before_train(self, runner: Engine) -> None:
        """Sort the schedulers by what they count."""
        schedulers = list(_flatten(runner.param_schedulers))
        plain = [s for s in schedulers if not getattr(s, "need_val_args", False)]
        self._per_iter = tuple(s for s in plain if not s.by_epoch)
        self._per_epoch = tuple(s for s in plain if s.by_epoch)
        self._per_validation = tuple(s for s in schedulers if getattr(s, "need_val_args", False))

    def bound_at(self, point: str, runner: Engine) -> Callable[..., None] | None:
        """Nothing after an iteration where no scheduler counts them."""
        if point == "after_train_iter" and not self._per_iter:
            return None
        return super().bound_at(point, runner)

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Step what counts iterations."""
        for scheduler in self._per_iter:
            scheduler.step()

    def after_train_epoch(self, runner: Engine) -> None:
        """Step what counts epochs."""
        for scheduler in self._per_epoch:
            scheduler.step()

    def after_val_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """Step what decides by a metric; a validation outside of training schedules nothing."""
        if metrics is not None and runner.is_training:
            for scheduler in self._per_validation:
                scheduler.step(metrics)


def _flatten(schedulers: Any) -> Iterator[Any]:
    """Schedulers of one optimizer (a list) or of several (a dict of lists)."""
    if isinstance(schedulers, dict):
        for several in schedulers.values():
            yield from several
    elif schedulers is not None:
        yield from schedulers
