"""Randomness of a sample as a function of the sample.

Before each sample, Python's, NumPy's and PyTorch's global generators are seeded from
``(seed, epoch, sample index)``. What a random transform does to a sample then depends neither on
the samples before it, nor on which process loads it, nor on where a run was resumed.
"""

from __future__ import annotations

import contextlib
import functools
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import ConcatDataset as TorchConcatDataset
from torch.utils.data import StackDataset, Subset, TensorDataset, get_worker_info
from torch.utils.data import default_collate as torch_default_collate

from drivetrain.dataset._collate import default_collate, pseudo_collate
from drivetrain.dataset._mixing import GOLDEN, SECOND, finalize, mix

_current_key: int | None = None


class KeyedIndices(NamedTuple):
    """What a keyed loader sends to where samples are made: indices, and what else their keys need.

    A named tuple of plain integers, because each one is pickled on its way to a worker.
    """

    epoch: int
    # Tells repetitions of one index in one epoch apart: the pass of an endless sampler, the
    # position in the order of a sampler that may repeat itself.
    occurrences: int | Sequence[int]
    indices: Any


def sample_seed() -> int | None:
    """The 64-bit key of the sample that is being made, for generators of your own.

    Returns:
        The key, or ``None`` outside of a loader that keys its samples.

    Example:
        A transform that draws from its own generator::

            rng = np.random.default_rng(sample_seed())
    """
    return _current_key


def seed_everything_for(key: int) -> None:
    """Seed the three global generators of this process from one 64-bit key; about 7 µs."""
    global _current_key
    _current_key = key
    random.seed(key)
    np.random.seed(key >> 32)
    # torch.manual_seed would also visit every accelerator, at ten times the price.
    torch.default_generator.manual_seed(key)


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Give the three global generators back as they were found."""
    global _current_key
    python, numpy = random.getstate(), np.random.get_state(legacy=False)
    pytorch = torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.default_generator.set_state(pytorch)
        _current_key = None


def is_deterministic(dataset: Any) -> bool:
    """Whether a dataset is known to draw no random number when a sample is read."""
    kind = type(dataset)
    if kind in (list, tuple, range, TensorDataset):
        return True
    if kind is Subset:
        return is_deterministic(dataset.dataset)
    if kind is TorchConcatDataset:
        return all(map(is_deterministic, dataset.datasets))
    if kind is StackDataset:
        parts = dataset.datasets
        return all(map(is_deterministic, parts.values() if isinstance(parts, dict) else parts))
    return False


def fetches_whole_batches(dataset: Any) -> bool:
    """Whether a dataset makes many samples in one call, so that they cannot be keyed one by one."""
    if type(dataset) is Subset:
        return fetches_whole_batches(dataset.dataset)
    return callable(getattr(dataset, "__getitems__", None))


def collates_deterministically(collate_fn: Callable[..., Any]) -> bool:
    """Whether a collate function is known to draw no random number."""
    while isinstance(collate_fn, functools.partial):
        collate_fn = collate_fn.func
    return collate_fn in (pseudo_collate, default_collate, torch_default_collate)


def _as_integer(index: Any) -> int:
    """A number for an index; what is no integer gets a checksum that all processes agree on."""
    if type(index) is int:
        return index
    try:
        return index.__index__()
    except (AttributeError, TypeError, ValueError):
        return zlib.crc32(repr(index).encode())


class KeyedDataset:
    """A dataset as a loader's fetcher sees it: every sample is made under its own key.

    Args:
        dataset: The user's map-style dataset.
        seed: Same on every rank, and in the run that is resumed.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.last_batch_key = 0
        self._whole_batches = fetches_whole_batches(dataset)
        self._epoch: int | None = None
        self._epoch_key = 0

    def reseed(self, seed: int) -> None:
        """Key all samples to come by another seed."""
        self.seed, self._epoch = seed, None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, keyed: KeyedIndices) -> Any:
        """One sample, or whatever one index of a loader without batching stands for."""
        epoch, occurrence, index = keyed
        with self._random_state():
            seed_everything_for(self._key(epoch, occurrence, index))
            try:
                return self.dataset[index]
            except Exception as err:
                self._note(err, index, epoch)
                raise

    def __getitems__(self, keyed: KeyedIndices) -> list[Any]:
        """The samples of one batch."""
        epoch, occurrences, indices = keyed
        if isinstance(occurrences, int):
            occurrences = (occurrences,) * len(indices)
        with self._random_state():
            if indices:
                self.last_batch_key = self._key(epoch, occurrences[0], indices[0])
            if self._whole_batches:
                seed_everything_for(self.last_batch_key)
                return self.dataset.__getitems__(indices)
            samples: list[Any] = []
            try:
                for occurrence, index in zip(occurrences, indices, strict=True):
                    seed_everything_for(self._key(epoch, occurrence, index))
                    samples.append(self.dataset[index])
            except Exception as err:
                self._note(err, indices[len(samples)], epoch)
                raise
            return samples

    def _note(self, err: Exception, index: Any, epoch: int) -> None:
        """Let the traceback tell which sample failed, also out of a worker."""
        kind = type(self.dataset).__name__
        note = f"while making sample {index} of {kind}, in epoch {epoch}"
        if hasattr(err, "add_note"):  # from Python 3.11 on
            err.add_note(note)
        elif len(err.args) == 1 and isinstance(err.args[0], str):  # before, no notes are shown
            err.args = (f"{err.args[0]}\n{note}",)

    def _key(self, epoch: int, occurrence: Any, index: Any) -> int:
        if epoch != self._epoch:
            self._epoch, self._epoch_key = epoch, mix(self.seed, epoch)
        return finalize(self._epoch_key + _as_integer(index) * GOLDEN + occurrence * SECOND)

    @staticmethod
    def _random_state() -> contextlib.AbstractContextManager[None]:
        # A worker has nothing to give back: nobody else draws there.
        return random_state_kept() if get_worker_info() is None else contextlib.nullcontext()


class KeyedCollate:
    """A collate function under a key of its batch, for those that draw random numbers."""

    def __init__(self, collate_fn: Callable[[Any], Any], keyed: KeyedDataset) -> None:
        self.collate_fn = collate_fn
        self.keyed = keyed

    def __call__(self, samples: Any) -> Any:
        with self.keyed._random_state():
            seed_everything_for(finalize(self.keyed.last_batch_key + GOLDEN))
            return self.collate_fn(samples)


class KeyedWorkerInit:
    """Let a worker's info show the user's dataset, then run the user's own initialization."""

    def __init__(self, worker_init_fn: Callable[[int], None] | None) -> None:
        self.worker_init_fn = worker_init_fn

    def __call__(self, worker_id: int) -> None:
        info = get_worker_info()
        if info is not None and isinstance(info.dataset, KeyedDataset):
            object.__setattr__(info, "dataset", info.dataset.dataset)  # info refuses assignment
        if self.worker_init_fn is not None:
            self.worker_init_fn(worker_id)
