"""What a run is called, where it lies, and how far it is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from drivetrain.dist.strategy import BaseStrategy
from drivetrain.logging import MMLogger
from drivetrain.runner._progress import Progress


def is_built(loop: Any) -> bool:
    """Whether ``loop`` is a loop, not the config of one; asked several times an iteration."""
    return loop is not None and not isinstance(loop, dict)


class RunFacts(ABC):
    """Facts of a run, read from its strategy and its training loop."""

    strategy: BaseStrategy
    model: Any
    _train_loop: Any

    @property
    @abstractmethod
    def train_loop(self) -> Any:
        """The training loop, built when it is first asked for."""

    @property
    def experiment_name(self) -> str:
        """Name of the experiment, with the time at which it was started."""
        return self.strategy.experiment_name

    @property
    def timestamp(self) -> str:
        """Time at which the experiment was started, ``YYYYMMDD_HHMMSS``; the same on all ranks."""
        return self.strategy.timestamp

    @property
    def work_dir(self) -> str:
        """Folder of checkpoints and logs."""
        return self.strategy.work_dir

    @property
    def log_dir(self) -> str:
        """Folder of this start's logs, inside the work dir."""
        return self.strategy.log_dir

    @property
    def logger(self) -> MMLogger:
        """The logger of the run."""
        return self.strategy.logger

    @property
    def model_name(self) -> str:
        """Class name of the model."""
        model = getattr(self.model, "module", self.model)
        return str(model.get("type")) if isinstance(model, dict) else type(model).__name__

    @property
    def distributed(self) -> bool:
        """Whether several processes train together."""
        return self.strategy.distributed

    @property
    def launcher(self) -> str:
        """How the processes were launched."""
        return self.strategy.launcher

    @property
    def rank(self) -> int:
        """Number of this process among all."""
        return self.strategy.rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.strategy.world_size

    @property
    def seed(self) -> int:
        """Seed of the run; the same on all ranks."""
        return self.strategy.seed

    @property
    def deterministic(self) -> bool:
        """Whether only deterministic algorithms are used."""
        return self.strategy.deterministic

    @property
    def diff_rank_seed(self) -> bool:
        """Whether each rank has a random state of its own."""
        return self.strategy.diff_rank_seed

    @property
    def auto_scale_lr(self) -> Any:
        """How the learning rate is scaled with the batch size, as the runner was told."""
        return self.strategy.auto_scale_lr

    # ---------------------------------------------------------------- how far it is

    @property
    def has_train_loop(self) -> bool:
        """Whether the training loop is built."""
        return is_built(self._train_loop)

    @property
    def progress(self) -> Progress:
        """Position of the training at its last step border."""
        loop = self._train_loop
        progress = getattr(loop, "progress", None)
        if progress is None:
            if not self.has_train_loop:
                return Progress()
            # a user's own kind of loop, which knows only its counts
            progress = loop.progress = Progress(epoch=self.epoch, iter=self.iter)
        return progress

    @property
    def epoch(self) -> int:
        """Index of the training epoch in progress; 0 before there is a loop."""
        return getattr(self._train_loop, "epoch", 0)

    @property
    def iter(self) -> int:
        """Index of the training iteration in progress; 0 before there is a loop."""
        # Each hook asks this in each iteration: one call, whatever the loop is.
        return getattr(self._train_loop, "iter", 0)

    @property
    def max_epochs(self) -> Any:
        """Number of training epochs; infinity where a loop of one's own has no end."""
        return getattr(self.train_loop, "max_epochs", math.inf)

    @property
    def max_iters(self) -> Any:
        """Number of training iterations; infinity where a loop of one's own has no end."""
        return getattr(self.train_loop, "max_iters", math.inf)

    @property
    def val_interval(self) -> int:
        """Epochs or iterations between two validations."""
        return self.train_loop.val_interval

    @property
    def val_begin(self) -> int:
        """Epochs or iterations before the first validation."""
        return self.train_loop.val_begin
