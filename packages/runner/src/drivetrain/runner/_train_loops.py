"""Training loops: by epochs and by iterations."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import DataLoader

from drivetrain.dist import check_agreement
from drivetrain.registry import LOOPS
from drivetrain.runner._as_written import as_written, keeps
from drivetrain.runner._base_loop import BaseLoop, batches_of
from drivetrain.runner._errors import RunnerConfigError
from drivetrain.runner._loader_position import open_epoch
from drivetrain.runner._progress import Progress
from drivetrain.runner._quick_step import calls_hooks_as_written, quick_iteration

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine

DynamicIntervals = Sequence[tuple[int, int]]


def calc_dynamic_intervals(
    start_interval: int, dynamic_intervals: DynamicIntervals | None = None
) -> tuple[list[int], list[int]]:
    """Milestones, and the interval that holds from each on.

    Args:
        start_interval: Interval from the start.
        dynamic_intervals: Pairs of a milestone and the interval from there on.

    Raises:
        RunnerConfigError: If they are no pairs of numbers.
    """
    for pair in dynamic_intervals or ():
        if not (isinstance(pair, (tuple, list)) and [type(n) for n in pair] == [int, int]):
            raise RunnerConfigError(
                "train_cfg: dynamic_intervals are pairs of a milestone and the interval from there "
                f"on, such as [(10, 1)], got {pair!r} among them"
            )
    pairs = [(0, start_interval), *(dynamic_intervals or ())]
    return [milestone for milestone, _ in pairs], [interval for _, interval in pairs]


class TrainLoop(BaseLoop):
    """What the two training loops share: position, validation between steps, early stop.

    ``progress`` is the position at the last step border. The call of the hooks that follow a step
    moves it first, so that a checkpoint written by one of them continues with the next step, also
    in a loop with a ``run_epoch`` or ``run_iter`` of its own; ``epoch`` and ``iter`` move after
    those hooks.

    Attributes:
        stop_training: Set it to end training after the step, or the validation, in progress.
        progress: Where training is.
    """

    def __init__(
        self,
        runner: Engine,
        dataloader: DataLoader | dict[str, Any],
        val_begin: int,
        val_interval: int,
        dynamic_intervals: DynamicIntervals | None,
    ) -> None:
        super().__init__(runner, dataloader)
        if val_interval < 1:
            raise RunnerConfigError(f"train_cfg: val_interval is at least 1, got {val_interval}")
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False
        self.progress = Progress()
        self._epoch = 0
        self._iter = 0
        self._milestones, self._intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)
        if hasattr(self.dataloader.dataset, "metainfo"):
            runner.visualizer.dataset_meta = self.dataloader.dataset.metainfo

    # Read by each hook in each iteration: an attrgetter costs no call of a Python function.
    iter: int = property(  # type: ignore[assignment]  # an int for whoever reads it
        attrgetter("_iter"),
        doc="Index of the iteration in progress; finished iterations between two.",
    )
    epoch: int = property(  # type: ignore[assignment]
        attrgetter("_epoch"), doc="Index of the epoch in progress; finished epochs between two."
    )

    @property
    @abstractmethod
    def max_epochs(self) -> int:
        """Number of epochs of the whole training."""

    @property
    @abstractmethod
    def max_iters(self) -> int:
        """Number of iterations of the whole training."""

    def load_progress(self, progress: Progress) -> None:
        """Go on from ``progress``."""
        self.progress = progress
        self._iter = progress.iter

    def _step(self, batch_idx: int, data_batch: Any) -> None:
        """One training iteration, with its hooks."""
        runner = self._runner
        runner.call_hook("before_train_iter", batch_idx=batch_idx, data_batch=data_batch)
        outputs = runner.model.train_step(data_batch, optim_wrapper=runner.optim_wrapper)
        runner.call_hook(
            "after_train_iter", batch_idx=batch_idx, data_batch=data_batch, outputs=outputs
        )
        self._iter += 1

    def _quick(self, methods: dict[str, Any]) -> Callable[[int, Any], None] | None:
        """:meth:`_step` as one function; None where a subclass or a runner steps in.

        Args:
            methods: Those of this class that it stands for.
        """
        untouched = keeps(self, methods) and calls_hooks_as_written(self._runner)
        return quick_iteration(self) if untouched else None

    def _validate_if_due(self, finished: int, last: int) -> None:
        """Validate after ``finished`` of ``last`` epochs or iterations."""
        runner = self._runner
        self._decide_current_val_interval()
        due = finished % self.val_interval == 0 or finished == last
        if runner.val_loop is not None and finished >= max(self.val_begin, 1) and due:
            runner.val_loop.run()
            self.progress.validated_at = self.progress.iter
            runner.model.train()

    @property
    def _is_validated(self) -> bool:
        """Whether this step is validated; a run may have died between its checkpoint and that."""
        return self.progress.validated_at == self.progress.iter

    def _decide_current_val_interval(self) -> None:
        """Take the interval that holds at the epoch or iteration in progress."""
        at = bisect(self._milestones, self._position() + 1)
        self.val_interval = self._intervals[at - 1]

    @abstractmethod
    def _position(self) -> int:
        """What ``val_interval`` counts: finished epochs or iterations."""


@LOOPS.register_module()
class EpochBasedTrainLoop(TrainLoop):
    """Train for a number of passes over the data.

    Args:
        runner: The runner that the loop belongs to.
        dataloader: A loader with a length, or the config of one.
        max_epochs: Number of epochs.
        val_begin: Finished epochs before the first validation.
        val_interval: Epochs between two validations; the last epoch is always validated.
        dynamic_intervals: Pairs of an epoch and the interval from there on.

    Raises:
        RunnerConfigError: If ``max_epochs`` or ``val_interval`` makes no sense, or the loader is
            empty.
    """

    def __init__(
        self,
        runner: Engine,
        dataloader: DataLoader | dict[str, Any],
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: DynamicIntervals | None = None,
    ) -> None:
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        self._max_epochs = _whole_number("max_epochs", max_epochs)
        self._batches_per_epoch = batches_of("train", self.dataloader)
        self._iters_of_other_length = 0
        if self._batches_per_epoch == 0:
            raise RunnerConfigError("train_dataloader has no batches: there is nothing to train on")

    @property
    def max_epochs(self) -> int:
        """Number of epochs of the whole training."""
        return self._max_epochs

    @property
    def max_iters(self) -> int:
        """Number of iterations of the whole training."""
        return self._max_epochs * self._batches_per_epoch + self._iters_of_other_length

    def load_progress(self, progress: Progress) -> None:
        """Go on from ``progress``."""
        super().load_progress(progress)
        self._epoch = progress.epoch
        # With another number of ranks or another batch size, epochs so far had other lengths.
        behind = progress.epoch * self._batches_per_epoch + progress.batch_in_epoch
        self._iters_of_other_length = progress.iter - behind

    def run(self) -> nn.Module:
        """Train, validating in between; returns the model.

        Raises:
            DataMismatchError: On every rank, if they have different numbers of batches: the one
                with most would wait for the others at the end of an epoch.
        """
        runner = self._runner
        check_agreement({"batches of train_dataloader": self._batches_per_epoch})
        runner.call_hook("before_train")
        if self.progress.batch_in_epoch == 0:
            runner.restore_random_state()
            if self._epoch > 0 and not self._is_validated:
                self._validate_if_due(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            if self.progress.batch_in_epoch:  # stopped inside the epoch
                break
            self._validate_if_due(self._epoch, self._max_epochs)
        runner.call_hook("after_train")
        return runner.model

    def run_epoch(self) -> None:
        """Train for what is left of the current epoch."""
        runner = self._runner
        runner.call_hook("before_train_epoch")
        runner.model.train()
        first = self.progress.batch_in_epoch
        batches = open_epoch(self.dataloader, self.progress)
        runner.restore_random_state()
        run_iter = self._quick(_STEP_OF_EPOCHS) or self.run_iter
        for idx, data_batch in enumerate(batches, first):
            run_iter(idx, data_batch)
            if self.stop_training:  # a checkpoint goes on with the rest of the epoch
                return
        runner.call_hook("after_train_epoch")
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch, the ``idx``-th of its epoch."""
        self._step(idx, data_batch)

    def _position(self) -> int:
        return self._epoch


class _InfiniteDataloaderIterator:
    """Batches without end: a finite loader is opened again when it is through.

    Args:
        dataloader: The loader.
        progress: Where to start, and what to keep up to date; by default the beginning.
    """

    def __init__(self, dataloader: DataLoader, progress: Progress | None = None) -> None:
        self._dataloader = dataloader
        self._progress = progress or Progress()
        self._iterator: Iterator[Any] = open_epoch(dataloader, self._progress)

    @property
    def _epoch(self) -> int:
        return self._progress.epoch

    def __iter__(self) -> _InfiniteDataloaderIterator:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._iterator)
        except StopIteration:
            self._progress.epoch += 1
            self._progress.batch_in_epoch = 0
            self._iterator = open_epoch(self._dataloader, self._progress)
        try:
            return next(self._iterator)
        except StopIteration:
            raise RunnerConfigError(
                "train_dataloader yields no batch: is its dataset empty, or smaller than one batch "
                "with drop_last?"
            ) from None


@LOOPS.register_module()
class IterBasedTrainLoop(TrainLoop):
    """Train for a number of iterations, over an endless or a finite loader.

    Args:
        runner: The runner that the loop belongs to.
        dataloader: A loader, or the config of one; a finite one is gone through again and again.
        max_iters: Number of iterations.
        val_begin: Finished iterations before the first validation.
        val_interval: Iterations between two validations; the last iteration is always validated.
        dynamic_intervals: Pairs of an iteration and the interval from there on.
    """

    def __init__(
        self,
        runner: Engine,
        dataloader: DataLoader | dict[str, Any],
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: DynamicIntervals | None = None,
    ) -> None:
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        self._max_iters = _whole_number("max_iters", max_iters)

    @property
    def max_epochs(self) -> int:
        """Always 1: the whole training counts as one epoch."""
        return 1

    @property
    def max_iters(self) -> int:
        """Number of iterations of the whole training."""
        return self._max_iters

    def run(self) -> nn.Module:
        """Train, validating in between; returns the model."""
        runner = self._runner
        runner.call_hook("before_train")
        runner.call_hook("before_train_epoch")
        runner.model.train()
        if self._iter < self._max_iters:
            self.dataloader_iterator = _InfiniteDataloaderIterator(self.dataloader, self.progress)
        runner.restore_random_state()
        if self._iter > 0 and not self._is_validated:
            self._validate_if_due(self._iter, self._max_iters)
        quick = self._quick(_STEP_OF_ITERATIONS)
        while self._iter < self._max_iters and not self.stop_training:
            data_batch = next(self.dataloader_iterator)
            quick(self._iter, data_batch) if quick else self.run_iter(data_batch)
            self._validate_if_due(self._iter, self._max_iters)
        runner.call_hook("after_train_epoch")
        runner.call_hook("after_train")
        return runner.model

    def run_iter(self, data_batch: Any) -> None:
        """Train on one batch."""
        self._step(self._iter, data_batch)

    def _position(self) -> int:
        return self._iter


_STEP_OF_EPOCHS = as_written(EpochBasedTrainLoop, "run_iter", "_step")
_STEP_OF_ITERATIONS = as_written(IterBasedTrainLoop, "run_iter", "_step")


def _whole_number(name: str, value: Any) -> int:
    try:
        is_whole = int(value) == value and value >= 0
    except (TypeError, ValueError, OverflowError):  # a text, None, infinity
        is_whole = False
    if not is_whole:
        raise RunnerConfigError(f"train_cfg: {name} is a whole number from 0 on, got {value!r}")
    return int(value)
