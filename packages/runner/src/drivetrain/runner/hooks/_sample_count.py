"""Counting the samples that a training has seen, without a look at every batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from drivetrain.dataset import num_samples
from drivetrain.runner._progress import Progress

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


class SampleCount:
    """Samples of all ranks so far.

    Where a loader makes batches of one size, only the last one of each pass may be smaller, and
    only that one is looked at.

    Attributes:
        total: The count.
    """

    def __init__(self) -> None:
        self.total = 0
        self._progress = Progress()
        self._world_size = 1
        self._whole = 0  # samples of a batch of all ranks; 0 where each has to be looked at
        self._batches = 0  # of a pass

    def open_epoch(self, runner: Engine) -> None:
        """Look at the loader whose batches come next."""
        self._progress = runner.progress
        self._world_size = runner.world_size
        size, self._batches = _batch_size_and_number(runner.train_dataloader)
        self._whole = size * self._world_size

    def add(self, data_batch: Any) -> None:
        """Count the batch that the position of the training has just passed."""
        if self._whole and self._progress.batch_in_epoch != self._batches:
            self.total += self._whole
        else:
            self.total += num_samples(data_batch) * self._world_size


def _batch_size_and_number(loader: DataLoader) -> tuple[int, int]:
    """Size of the batches but the last, and their number; zeros where they may be of any size."""
    sampler = loader.batch_sampler
    if type(sampler) is not BatchSampler or isinstance(loader.dataset, IterableDataset):
        return 0, 0
    return sampler.batch_size, len(loader)
