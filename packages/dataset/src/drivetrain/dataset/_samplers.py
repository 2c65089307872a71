"""Samplers with one global order, of which every rank takes a strided slice.

The order is a function of ``(seed, epoch)`` alone, so it is the same for any number of ranks,
and a position in it is one number: how many samples all ranks together have consumed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from torch.utils.data import Sampler

from drivetrain.dataset._errors import LoaderConfigError
from drivetrain.dataset._mixing import mix
from drivetrain.dist import get_data_share, sync_random_seed
from drivetrain.registry import DATA_SAMPLERS

Order = Sequence[int] | torch.Tensor
_CHUNK = 4096


def global_order(size: int, *, seed: int, epoch: int, shuffle: bool) -> Order:
    """The order of ``size`` samples in ``epoch``: ``(size,)`` integers, the same on every rank."""
    if not shuffle:
        return range(size)
    generator = torch.Generator().manual_seed(mix(seed, epoch))
    dtype = torch.int32 if size < 2**31 else torch.int64
    return torch.randperm(size, generator=generator, dtype=dtype)


def strided(order: Order, first: int, step: int) -> Iterator[int]:
    """``order[first::step]`` as plain integers, a few thousand at a time.

    All at once they would be objects of 32 bytes each, for as long as the epoch lasts.
    """
    part = order[first::step] if first < len(order) else order[:0]
    for start in range(0, len(part), _CHUNK):
        chunk = part[start : start + _CHUNK]
        yield from chunk.tolist() if isinstance(chunk, torch.Tensor) else chunk


class _PositionedSampler(Sampler[int]):
    """What both samplers share: rank, seed, epoch, and where the next iteration starts."""

    epoch: int | None = None

    def __init__(self, dataset: Sized, shuffle: bool, seed: int | None) -> None:
        self.rank, self.world_size = get_data_share()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = int(sync_random_seed() if seed is None else seed)
        self._start = 0

    def start_at(self, position: int) -> None:
        """Let the next iteration, and only that one, start at ``position`` of the global order.

        Args:
            position: Samples that all ranks together have consumed, of this epoch or of the
                endless stream. It means the same for any number of ranks, and costs nothing.

        Raises:
            LoaderConfigError: If ``position`` is negative.
        """
        if position < 0:
            raise LoaderConfigError(
                f"start_at: a position counts consumed samples, so it cannot be {position}"
            )
        self._start = position

    def state_dict(self) -> dict[str, Any]:
        """The seed of the orders, the epoch, and the position where the next iteration starts."""
        return {"seed": self.seed, "epoch": self.epoch, "samples": self._start}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``; the number of ranks may have changed."""
        self.seed = state_dict["seed"]
        self.epoch = state_dict["epoch"]
        self.start_at(state_dict["samples"])

    def _taken_start(self) -> int:
        start, self._start = self._start, 0
        return start


@DATA_SAMPLERS.register_module()
class DefaultSampler(_PositionedSampler):
    """Each sample once per epoch, shuffled or in order, for one process or many.

    With ``round_up`` every rank yields equally many samples: the order is continued from its own
    beginning until it divides by the world size. Without it nothing is added and nothing dropped,
    and the first ranks may yield one sample more.

    Args:
        dataset: What to sample from; only its length is used.
        shuffle: Whether each epoch has a random order of its own.
        seed: Decides the random orders. ``None`` draws one and agrees on it with all ranks.
        round_up: Whether all ranks yield the same number of samples.
    """

    def __init__(
        self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True
    ) -> None:
        super().__init__(dataset, shuffle, seed)
        self.epoch = 0
        self.round_up = round_up
        size, world = len(dataset), self.world_size
        self.num_samples = math.ceil((size if round_up else size - self.rank) / world)
        self.total_size = self.num_samples * world if round_up else size

    def __iter__(self) -> Iterator[int]:
        return self._of_rank(self._taken_start(), self.seed, self.epoch or 0)

    def __len__(self) -> int:
        """Samples of one epoch on this rank, wherever the next iteration starts."""
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration: epochs differ, an epoch repeats itself.

        Args:
            epoch: Counts from 0; same on all ranks.
        """
        self.epoch = epoch

    def _of_rank(self, start: int, seed: int, epoch: int) -> Iterator[int]:
        # A generator: the order is made at the first index, so after workers are forked, and is
        # no page that they have to carry.
        size = len(self.dataset)
        order = global_order(size, seed=seed, epoch=epoch, shuffle=self.shuffle)
        yield from strided(order, start + self.rank, self.world_size)
        if self.round_up and start < size:
            turns = math.ceil((size - start) / self.world_size)
            last = start + self.rank + (turns - 1) * self.world_size
            # Only in the last turn can this rank's place lie behind the end of the order.
            if last >= size:
                yield int(order[last % size])


@DATA_SAMPLERS.register_module()
class InfiniteSampler(_PositionedSampler):
    """An endless stream of passes over the dataset, for training by iterations.

    Pass ``k`` has the order of ``(seed, k)``, so any position is reached without walking to it.
    Passes follow each other without a gap: a batch may end one and begin the next.

    Args:
        dataset: What to sample from; only its length is used.
        shuffle: Whether each pass has a random order of its own.
        seed: Decides the random orders. ``None`` draws one and agrees on it with all ranks.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        super().__init__(dataset, shuffle, seed)
        self.size = len(dataset)

    def __iter__(self) -> Iterator[int]:
        return self._stream(self._taken_start() + self.rank, self.seed)

    def __len__(self) -> int:
        """Samples of one pass over the dataset; the stream itself has no end."""
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Accepted and ignored: a stream has passes, and counts them itself.

        Args:
            epoch: Not looked at.
        """

    def _stream(self, position: int, seed: int) -> Iterator[int]:
        while self.size:
            number, offset = divmod(position, self.size)
            order = global_order(self.size, seed=seed, epoch=number, shuffle=self.shuffle)
            yield from strided(order, offset, self.world_size)
            turns = math.ceil((self.size - offset) / self.world_size)
            position += turns * self.world_size
