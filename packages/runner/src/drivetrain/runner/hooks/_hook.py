"""The base class of hooks, and the order of the points at which they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from drivetrain.runner._engine import Engine
    from drivetrain.runner._priority import Priority

Batch = dict[str, Any] | tuple | list | None
"""What a data loader yields."""

#: Every point, by the stage that reaches it, in order of time.
STAGES: dict[str, tuple[str, ...]] = {
    "before_run": ("before_run",),
    "after_load_checkpoint": ("after_load_checkpoint",),
    "before_train": ("before_train",),
    "before_train_epoch": ("before_train_epoch", "_before_epoch"),
    "before_train_iter": ("before_train_iter", "_before_iter"),
    "after_train_iter": ("after_train_iter", "_after_iter"),
    "after_train_epoch": ("after_train_epoch", "_after_epoch"),
    "before_val": ("before_val",),
    "before_val_epoch": ("before_val_epoch", "_before_epoch"),
    "before_val_iter": ("before_val_iter", "_before_iter"),
    "after_val_iter": ("after_val_iter", "_after_iter"),
    "after_val_epoch": ("after_val_epoch", "_after_epoch"),
    "after_val": ("after_val",),
    "before_save_checkpoint": ("before_save_checkpoint",),
    "after_train": ("after_train",),
    "before_test": ("before_test",),
    "before_test_epoch": ("before_test_epoch", "_before_epoch"),
    "before_test_iter": ("before_test_iter", "_before_iter"),
    "after_test_iter": ("after_test_iter", "_after_iter"),
    "after_test_epoch": ("after_test_epoch", "_after_epoch"),
    "after_test": ("after_test",),
    "after_run": ("after_run",),
}

#: The points of an iteration; at all others the run pauses.
OF_ITERATIONS = frozenset(point for point in STAGES if point.endswith("_iter"))


class Hook:
    """Something to do at points of a run, without touching its loop.

    Override the points that you need; the engine calls those and pays for nothing else. Each is
    called with the runner. ``_before_epoch``, ``_after_epoch``, ``_before_iter`` and
    ``_after_iter`` serve train, val and test at once and are told the ``mode``.

    A hook that has state offers ``state_dict()`` (plain types and tensors) and
    ``load_state_dict(state)``: the engine then saves it in checkpoints and restores it on resume.
    """

    priority: int | str | Priority = "NORMAL"
    stages: ClassVar[tuple[str, ...]] = tuple(STAGES)
    #: Methods for points that the class itself has, as they are written in it.
    methods_written: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.methods_written = {name: vars(cls)[name] for name in STAGES if name in vars(cls)}

    def bound_at(self, point: str, runner: Engine) -> Callable[..., None] | None:
        """What the engine calls at a point, in place of this class's method for it.

        Asked once for each training, after ``before_train``, and again when a hook is registered or
        the runner gets another message hub, log processor or training loop. A hook that acts in
        each iteration can return a function that has looked up what stays the same, and None where
        it has nothing to do. It holds for the methods of the class that defines it, not for those
        of a subclass or what replaces them later.

        Args:
            point: A point at which this class has a method, such as ``after_train_iter``.
            runner: The runner.
        """
        return getattr(self, point)

    def before_run(self, runner: Engine) -> None:
        """Before anything else of a run, model and optimizer being ready."""

    def after_run(self, runner: Engine) -> None:
        """After everything else of a run."""

    def before_train(self, runner: Engine) -> None:
        """Before the first training epoch, a resumed state being loaded."""

    def after_train(self, runner: Engine) -> None:
        """After the last training epoch."""

    def before_val(self, runner: Engine) -> None:
        """Before a validation."""

    def after_val(self, runner: Engine) -> None:
        """After a validation."""

    def before_test(self, runner: Engine) -> None:
        """Before a test."""

    def after_test(self, runner: Engine) -> None:
        """After a test."""

    def before_save_checkpoint(self, runner: Engine, checkpoint: dict[str, Any]) -> None:
        """Before ``checkpoint`` is written; it may be changed in place."""

    def after_load_checkpoint(self, runner: Engine, checkpoint: dict[str, Any]) -> None:
        """After ``checkpoint`` was read, before its weights go into the model."""

    def before_train_epoch(self, runner: Engine) -> None:
        """Before each training epoch."""
        self._before_epoch(runner, mode="train")

    def before_val_epoch(self, runner: Engine) -> None:
        """Before each pass over the validation data."""
        self._before_epoch(runner, mode="val")

    def before_test_epoch(self, runner: Engine) -> None:
        """Before each pass over the test data."""
        self._before_epoch(runner, mode="test")

    def after_train_epoch(self, runner: Engine) -> None:
        """After each training epoch, before a validation that follows it."""
        self._after_epoch(runner, mode="train")

    def after_val_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """After each pass over the validation data, with its ``metrics``."""
        self._after_epoch(runner, mode="val")

    def after_test_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """After each pass over the test data, with its ``metrics``."""
        self._after_epoch(runner, mode="test")

    def before_train_iter(self, runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
        """Before each training iteration."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="train")

    def before_val_iter(self, runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
        """Before each validation iteration."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="val")

    def before_test_iter(self, runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
        """Before each test iteration."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="test")

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """After each training iteration; ``outputs`` are the model's log values, as tensors."""
        self._after_iter(
            runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="train"
        )

    def after_val_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: Sequence | None = None,
    ) -> None:
        """After each validation iteration; ``outputs`` are the model's predictions."""
        self._after_iter(
            runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="val"
        )

    def after_test_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: Sequence | None = None,
    ) -> None:
        """After each test iteration; ``outputs`` are the model's predictions."""
        self._after_iter(
            runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="test"
        )

    def _before_epoch(self, runner: Engine, mode: str = "train") -> None:
        """Before each epoch of any kind."""

    def _after_epoch(self, runner: Engine, mode: str = "train") -> None:
        """After each epoch of any kind."""

    def _before_iter(
        self, runner: Engine, batch_idx: int, data_batch: Batch = None, mode: str = "train"
    ) -> None:
        """Before each iteration of any kind."""

    def _after_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: Any = None,
        mode: str = "train",
    ) -> None:
        """After each iteration of any kind."""

    def every_n_epochs(self, runner: Engine, n: int, start: int = 0) -> bool:
        """Whether the current epoch, counted from 1, is ``start`` plus a multiple of ``n``."""
        finished = runner.epoch + 1
        return n > 0 and finished >= start and (finished - start) % n == 0

    def every_n_inner_iters(self, batch_idx: int, n: int) -> bool:
        """Whether the batch, counted from 1 within its epoch, is a multiple of ``n``."""
        return n > 0 and (batch_idx + 1) % n == 0

    def every_n_train_iters(self, runner: Engine, n: int, start: int = 0) -> bool:
        """Whether the iteration, counted from 1, is ``start`` plus a multiple of ``n``."""
        finished = runner.iter + 1
        return n > 0 and finished >= start and (finished - start) % n == 0

    def end_of_epoch(self, dataloader: DataLoader, batch_idx: int) -> bool:
        """Whether the batch is the last one of ``dataloader``."""
        return batch_idx + 1 == len(dataloader)

    def is_last_train_epoch(self, runner: Engine) -> bool:
        """Whether the current training epoch is the last one."""
        return runner.epoch + 1 == runner.max_epochs

    def is_last_train_iter(self, runner: Engine) -> bool:
        """Whether the current training iteration is the last one."""
        return runner.iter + 1 == runner.max_iters

    def get_triggered_stages(self) -> list[str]:
        """Points at which this hook does something, in order of time."""
        return [point for point in STAGES if reacts_at(self, point)]


def reacts_at(hook: Any, point: str) -> bool:
    """Whether ``hook`` does something at ``point`` (a documented one, or one of a custom loop)."""
    names = STAGES.get(point, (point,))
    for name in names:
        method = getattr(hook, name, None)
        if method is None:
            continue
        if getattr(method, "__func__", method) is not getattr(Hook, name, None):
            return True
    return False
