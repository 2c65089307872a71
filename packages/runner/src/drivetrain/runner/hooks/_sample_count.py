"""Counting the samples that a training has seen, without a look at every batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from drivetrain.dataset import DefaultSampler, InfiniteSampler, num_samples
from drivetrain.runner._progress import Progress

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


_OF_KNOWN_LENGTH = (DefaultSampler, SequentialSampler, RandomSampler, DistributedSampler)


class SampleCount:
    """Samples of all ranks so far.

    Where a loader makes batches of one size, the position of the training tells how many there
    were: only the last one of a pass may be smaller, by as much as is known in advance. Other
    loaders' batches have to be looked at one by one.

    Attributes:
        looks: Whether :meth:`add` has to be called for each batch.
    """

    def __init__(self) -> None:
        self.looks = True
        self._before = 0  # samples that were counted until the position `_since`
        self._since = 0
        self._progress = Progress()
        self._world_size = 1
        self._size, self._batches, self._missing = 0, 0, 0

    def open_epoch(self, runner: Engine) -> None:
        """Look at the loader whose batches come next."""
        self._before = self.total
        self._progress = runner.progress
        self._world_size = runner.world_size
        shape = _shape_of_a_pass(runner.train_dataloader)
        self.looks = shape is None
        self._size, self._batches, self._missing = shape or (0, 0, 0)
        self._since = self._samples_to_position()

    def add(self, data_batch: Any) -> None:
        """Count a batch of a loader whose batches may be of any size."""
        self._before += num_samples(data_batch) * self._world_size

    @property
    def total(self) -> int:
        """The count."""
        return self._before + self._samples_to_position() - self._since

    @total.setter
    def total(self, count: int) -> None:
        self._before = count
        self._since = self._samples_to_position()

    def _samples_to_position(self) -> int:
        """Samples from the first pass to the position, were all passes like this one."""
        pass_size = self._batches * self._size - self._missing
        samples = self._progress.batch_in_epoch * self._size
        if self._batches:  # also of a training that goes on with fewer, larger batches
            samples = min(samples, pass_size)
        return (self._progress.epoch * pass_size + samples) * self._world_size


def _shape_of_a_pass(loader: DataLoader) -> tuple[int, int, int] | None:
    """Size of the batches, their number, and what the last one lacks; None if they may differ.

    The number is 0 where a pass has no end.
    """
    sampler = loader.batch_sampler
    if type(sampler) is not BatchSampler or isinstance(loader.dataset, IterableDataset):
        return None
    order: Any = sampler.sampler
    if type(order) is InfiniteSampler:
        return sampler.batch_size, 0, 0
    if type(order) not in _OF_KNOWN_LENGTH:
        return None
    batches = len(loader)
    excess = 0 if sampler.drop_last else batches * sampler.batch_size - len(order)
    return sampler.batch_size, batches, excess
