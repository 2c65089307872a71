"""The loader that ``build_dataloader`` makes: keyed samples, and a position to start from."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from drivetrain.dataset._index_order import IndexOrder
from drivetrain.dataset._mixing import mix
from drivetrain.dataset._sample_randomness import (
    KeyedCollate,
    KeyedDataset,
    KeyedWorkerInit,
    collates_deterministically,
)


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
        self._swapped: dict[str, Any] = {}
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
        try:
            return super().__iter__()
        finally:
            if self._order is not None:
                self._order.start_over()

    def _get_iterator(self) -> Any:
        """Build PyTorch's iterator while the wrapped parts stand in for the user's."""
        shown = {name: self.__dict__[name] for name in self._swapped}
        self.__dict__.update(self._swapped)
        try:
            return super()._get_iterator()
        finally:
            self.__dict__.update(shown)
