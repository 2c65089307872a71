"""The loader that ``build_dataloader`` makes: keyed samples, and a position to start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from drivetrain.dataset._errors import LoaderConfigError
from drivetrain.dataset._index_order import IndexOrder
from drivetrain.dataset._mixing import mix
from drivetrain.dataset._sample_randomness import (
    KeyedCollate,
    KeyedDataset,
    KeyedWorkerInit,
    collates_deterministically,
)


class _CountedBatches:
    """One iteration of a loader, which knows where it began and how many batches it has given."""

    def __init__(self, iterator: Any, order: IndexOrder, epoch: int) -> None:
        self._iterator = iterator
        self.progress = _Progress(epoch, order.start_samples, order.skipped_batches)

    def __iter__(self) -> _CountedBatches:
        return self

    def __len__(self) -> int:
        return len(self._iterator)

    def __next__(self) -> Any:
        batch = next(self._iterator)
        self.progress.given += 1
        return batch


@dataclasses.dataclass
class _Progress:
    """Outlives its iteration, so that a position can be told after the last batch."""

    epoch: int
    start_samples: int
    skipped_batches: int
    given: int = 0


class KeyedDataLoader(DataLoader):
    """A ``DataLoader`` whose samples depend on ``(seed, epoch, index)``, and which can start late.

    ``dataset``, ``collate_fn`` and ``worker_init_fn`` stay what the user gave; only the iterator,
    which PyTorch builds from them, sees them wrapped.

    Args:
        dataset: The user's dataset.
        seed: Decides the samples' randomness; same on every rank.
        keyed: Whether samples get their own randomness. Iterable datasets never do.
        **kwargs: As for ``DataLoader``.
    """

    def __init__(self, dataset: Any, *, seed: int, keyed: bool = True, **kwargs: Any) -> None:
        if kwargs.get("generator") is None:
            # PyTorch draws a base seed per epoch; from the global generator that would shift
            # the randomness of the model.
            kwargs["generator"] = torch.Generator().manual_seed(mix(seed, 0))
        super().__init__(dataset, **kwargs)
        self._seed = seed
        self._swapped: dict[str, Any] = {}
        self._progress: _Progress | None = None
        self._order: IndexOrder | None = None
        if isinstance(self.dataset, IterableDataset):
            return
        if keyed:
            self._swap_in(KeyedDataset(self.dataset, seed))
        self._order = IndexOrder(self.batch_sampler, self.sampler, keyed=keyed)

    def _swap_in(self, keyed: KeyedDataset) -> None:
        self._swapped = {
            "dataset": keyed,
            "worker_init_fn": KeyedWorkerInit(self.worker_init_fn),
        }
        if self.batch_sampler is not None and not collates_deterministically(self.collate_fn):
            self._swapped["collate_fn"] = KeyedCollate(self.collate_fn, keyed)

    @property
    def _index_sampler(self) -> Any:
        """What PyTorch's iterators draw indices from."""
        # Not set while DataLoader.__init__ runs, and for iterable datasets.
        order = getattr(self, "_order", None)
        return super()._index_sampler if order is None else order

    @property
    def order(self) -> IndexOrder | None:
        """Where the next iteration starts; ``None`` for an iterable dataset."""
        return self._order

    def __iter__(self) -> Any:
        order = self._order
        if order is None:
            return super().__iter__()
        try:
            epoch = order.current_epoch
            batches = _CountedBatches(super().__iter__(), order, epoch)
        finally:
            order.start_over()
        self._progress = batches.progress
        return batches

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch that was handed out, and the seeds.

        Returns:
            Plain integers: ``epoch``; ``samples`` of all ranks together and ``batches`` of this
            rank that the epoch has given; ``seed`` of the samples and ``sampler_seed``.

        Raises:
            LoaderConfigError: If the dataset is iterable, and so has no position.
        """
        order = self._positioned_order()
        epoch, samples, batches = order.current_epoch, order.start_samples, order.skipped_batches
        progress = self._progress
        # A start that was asked for, or a new epoch, counts more than what was read before.
        if progress is not None and progress.epoch == epoch and not samples and not batches:
            batches = progress.skipped_batches + progress.given
            samples = order.samples_after(progress.start_samples, progress.given)
        if order.is_positioned:
            batches = -(-samples // order.samples_per_batch)
        sampler_seed = getattr(order.sampler, "seed", None)
        return {
            "epoch": epoch,
            "samples": samples,
            "batches": batches,
            "seed": self._seed,
            "sampler_seed": sampler_seed if isinstance(sampler_seed, int) else None,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Let the next iteration go on where ``state_dict()`` was taken.

        The number of workers may have changed; with ``DefaultSampler`` and ``InfiniteSampler``
        also the number of ranks and the batch size.

        Args:
            state_dict: What :meth:`state_dict` returned; plain integers.

        Raises:
            LoaderConfigError: If the dataset is iterable, and so has no position; or if a number
                is missing or negative.
        """
        order = self._positioned_order()
        for name in ("seed", "epoch", "samples", "batches"):
            number = state_dict.get(name)
            if not isinstance(number, int) or (name != "seed" and number < 0):
                raise LoaderConfigError(
                    f"load_state_dict: {name!r} must be an integer from 0 on, got {number!r}. "
                    "Pass what state_dict() of a loader returned; nothing has changed."
                )
        self.reseed(state_dict["seed"])
        if state_dict.get("sampler_seed") is not None and hasattr(order.sampler, "seed"):
            order.sampler.seed = state_dict["sampler_seed"]
        order.set_epoch(state_dict["epoch"])
        if not order.skip_samples(state_dict["samples"]):
            order.skip_batches(state_dict["batches"])

    def reseed(self, seed: int) -> None:
        """Decide the samples' order and randomness by another seed, the same on every rank."""
        self._seed = seed
        keyed = self._swapped.get("dataset")
        if keyed is not None:
            keyed.reseed(seed)
        sampler: Any = None if self._order is None else self._order.sampler
        if isinstance(getattr(sampler, "seed", None), int):
            sampler.seed = seed

    def _positioned_order(self) -> IndexOrder:
        if self._order is None:
            raise LoaderConfigError(
                f"a loader of the iterable dataset {type(self.dataset).__name__} has no position: "
                "the dataset itself must store and restore it"
            )
        return self._order

    def _get_iterator(self) -> Any:
        """Build PyTorch's iterator while the wrapped parts stand in for the user's."""
        shown = {name: self.__dict__[name] for name in self._swapped}
        self.__dict__.update(self._swapped)
        try:
            return super()._get_iterator()
        finally:
            self.__dict__.update(shown)
