"""Opening a data loader in the middle of an epoch, after the last batch that was used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from drivetrain.dataset import set_epoch, skip_batches
from drivetrain.runner._progress import Progress


def open_epoch(dataloader: DataLoader, progress: Progress) -> Iterator[Any]:
    """Iterate over the rest of the epoch that ``progress`` is in.

    Loaders that ``build_dataloader`` made from a config start at the right batch at once. A loader
    object of the user's draws its order from torch's global generator: the state from which it did
    is kept in ``progress``, so that the same order can be drawn again, and what was used is passed
    over.
    """
    set_epoch(dataloader, progress.epoch)
    start = progress.batch_in_epoch
    if skip_batches(dataloader, start):
        return iter(dataloader)
    if start == 0:
        progress.loader_rng = torch.get_rng_state()
        return iter(dataloader)
    return _pass_over(dataloader, start, progress.loader_rng)


def _pass_over(
    dataloader: DataLoader, batches: int, rng_state: torch.Tensor | None
) -> Iterator[Any]:
    if rng_state is None:
        rng_state = torch.get_rng_state()
    outer_state = torch.get_rng_state()
    torch.set_rng_state(rng_state)
    try:
        iterator = iter(dataloader)
        # In this process the indices can be drawn without loading what they stand for. Workers have
        # random states of their own, which only loading brings to where they were.
        draw = getattr(iterator, "_next_index", None) if dataloader.num_workers == 0 else None
        for _ in range(batches):
            next(iterator) if draw is None else draw()
    except StopIteration:
        return iter(())
    finally:
        torch.set_rng_state(outer_state)
    return iterator
