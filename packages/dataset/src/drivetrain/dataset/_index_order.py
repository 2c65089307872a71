"""Which indices a loader asks for next: the position in an epoch, kept in one place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, runtime_checkable

from torch.utils.data import BatchSampler

from drivetrain.dataset._sample_randomness import KeyedIndices
from drivetrain.dataset._samplers import DefaultSampler, InfiniteSampler
from drivetrain.dist import get_data_share


@runtime_checkable
class PositionedSampler(Protocol):
    """A sampler that can begin its next iteration anywhere, at no cost per sample skipped."""

    def start_at(self, position: int) -> None:
        """Begin the next iteration where all ranks together have consumed ``position`` samples."""

    def __iter__(self) -> Iterator[int]: ...


class IndexOrder:
    """The batches of indices of a loader, from wherever the next iteration is to start.

    Holds the samplers and no loader: the iterator of persistent workers keeps this object, and a
    cycle through the loader would keep those workers alive after their loader is gone.

    Args:
        batch_sampler: The loader's; ``None`` where it does not batch.
        sampler: The loader's; a batch sampler of another class than PyTorch's brings its own.
        keyed: Whether indices carry what the keys of their samples need.
    """

    def __init__(self, batch_sampler: Any, sampler: Any, *, keyed: bool) -> None:
        self.batch_sampler = batch_sampler
        inner = sampler if batch_sampler is None else getattr(batch_sampler, "sampler", None)
        self.sampler: Any = inner
        self.keyed = keyed
        self.epoch = 0
        self.rank, self.world_size = get_data_share()
        self.start_samples = 0
        self.skipped_batches = 0

    def __len__(self) -> int:
        """Batches in a whole epoch, wherever the next iteration starts."""
        source: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        return len(source)

    def __iter__(self) -> Iterator[Any]:
        start, epoch = self.start_samples, self.current_epoch
        if self.is_positioned:
            self.sampler.start_at(start)
            batches, consumed = self._from_sampler(), 0
        else:
            batches, consumed = self._walk(self.skipped_batches)
        return self._with_keys(batches, epoch, start, consumed) if self.keyed else batches

    @property
    def current_epoch(self) -> int:
        """The epoch of the next iteration: what the sampler was told, if it keeps that."""
        epoch = getattr(self.sampler, "epoch", None)
        return epoch if isinstance(epoch, int) else self.epoch

    @property
    def is_positioned(self) -> bool:
        """Whether a position is one number for the sampler, not a walk."""
        if self.batch_sampler is not None and type(self.batch_sampler) is not BatchSampler:
            return False
        return _honours_start(self.sampler)

    @property
    def samples_per_batch(self) -> int:
        """Samples that one full batch consumes on all ranks together."""
        batch_size = 1 if self.batch_sampler is None else self.batch_sampler.batch_size
        return batch_size * self.world_size

    def samples_after(self, start: int, batches: int) -> int:
        """The position of all ranks together, ``batches`` batches after ``start``."""
        after = start + batches * self.samples_per_batch
        if isinstance(self.sampler, DefaultSampler):
            return min(after, len(self.sampler.dataset))
        return after

    def batches_before(self, samples: int) -> int | None:
        """Number of the batch that comes after ``samples``; ``None`` where there is no position.

        Counted from the end of the epoch, so that its last batch has the number that it always has.
        """
        if not self.is_positioned:
            return None
        if not isinstance(self.sampler, DefaultSampler):
            return samples // self.samples_per_batch
        left = max(len(self.sampler.dataset) - samples, 0)
        turns = max(left if self.sampler.round_up else left - self.rank, 0)
        turns = -(-turns // self.world_size)
        if self.batch_sampler is None:
            return len(self) - turns
        size = self.batch_sampler.batch_size
        return len(self) - (turns // size if self.batch_sampler.drop_last else -(-turns // size))

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch to everything that shuffles or keys by it."""
        self.epoch = epoch
        for part in (self.sampler, self.batch_sampler):
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)

    def start_over(self) -> None:
        """Let the next iteration begin at the beginning.

        Not done by ``__iter__``: PyTorch's iterators with workers call that twice.
        """
        self.start_samples = self.skipped_batches = 0

    def skip_batches(self, number: int) -> None:
        """Let the next iteration begin after ``number`` batches."""
        if self.is_positioned:
            self.start_samples = number * self.samples_per_batch
        else:
            self.skipped_batches = number

    def skip_samples(self, number: int) -> bool:
        """Let the next iteration begin after ``number`` samples of all ranks together."""
        if self.is_positioned:
            self.start_samples = number
            return True
        return False

    def _from_sampler(self) -> Iterator[Any]:
        indices = iter(self.sampler)
        if self.batch_sampler is None:
            return indices
        return _in_batches(indices, self.batch_sampler.batch_size, self.batch_sampler.drop_last)

    def _walk(self, number: int) -> tuple[Iterator[Any], int]:
        """Draw ``number`` batches of indices and drop them: no sample is loaded."""
        source: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        batches = iter(source)
        consumed = sum(self._size_of(batch) for batch in islice(batches, number))
        return batches, consumed

    def _size_of(self, batch: Any) -> int:
        return 1 if self.batch_sampler is None else len(batch)

    def _with_keys(
        self, batches: Iterator[Any], epoch: int, start: int, consumed: int
    ) -> Iterator[KeyedIndices]:
        for batch in batches:
            size = self._size_of(batch)
            occurrences = self._occurrences(start, consumed, size)
            if self.batch_sampler is None and not isinstance(occurrences, int):
                occurrences = occurrences[0]
            yield KeyedIndices(epoch, occurrences, batch)
            consumed += size

    def _occurrences(self, start: int, consumed: int, size: int) -> int | Sequence[int]:
        """What tells the coming ``size`` samples from the same indices at another place."""
        if isinstance(self.sampler, DefaultSampler):
            return 0  # no index comes twice
        first = start + self.rank + consumed * self.world_size
        positions = range(first, first + size * self.world_size, self.world_size)
        if not isinstance(self.sampler, InfiniteSampler) or not self.is_positioned or not size:
            return positions
        passes = self.sampler.size
        if positions[0] // passes == positions[-1] // passes:
            return positions[0] // passes
        return [position // passes for position in positions]


def _honours_start(sampler: Any) -> bool:
    """Whether ``start_at`` belongs to the ``__iter__`` in use, not to one that it overrides."""
    if not isinstance(sampler, PositionedSampler):
        return False
    iterate = type(sampler).__iter__
    if iterate in (DefaultSampler.__iter__, InfiniteSampler.__iter__):
        return True
    for kind in type(sampler).__mro__:
        if "start_at" in vars(kind):
            return True
        if "__iter__" in vars(kind):
            return False
    return False


def _in_batches(indices: Iterator[int], batch_size: int, drop_last: bool) -> Iterator[list[int]]:
    while batch := list(islice(indices, batch_size)):
        if drop_last and len(batch) < batch_size:
            return
        yield batch
