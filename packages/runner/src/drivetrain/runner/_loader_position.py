"""Opening a data loader in the middle of an epoch, after the last batch that was used.

=====================================  ========================================================
the loader                             how it goes on
=====================================  ========================================================
built from a config                    at the next sample, at once; also with another number of
                                       workers or ranks, or another batch size
has ``state_dict`` (torchdata's        from its own state, which is saved with the checkpoint
``StatefulDataLoader``)
any other map-style loader             its order is drawn again from the random state in which the
                                       epoch began, and what was used is passed over: without
                                       loading it, unless there are workers
iterable data without a state          the same, but what was used has to be read again
=====================================  ========================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from drivetrain.dataset import batches_before, set_epoch, skip_batches
from drivetrain.dist import load_random_state_dict, random_state_dict
from drivetrain.runner._progress import Progress


def loader_state(dataloader: DataLoader, progress: Progress) -> dict[str, Any] | None:
    """What this rank needs, besides the counts of ``progress``, to open ``dataloader`` there."""
    if _has_state(dataloader):
        # Between two epochs the state of a foreign loader stands at the end of the last one.
        if progress.batch_in_epoch or _is_ours(dataloader):
            return {"own": dataloader.state_dict()}  # pyrefly: ignore[missing-attribute]
        return None
    return progress.loader if progress.batch_in_epoch else None


def fit_to_loader(progress: Progress, dataloader: DataLoader) -> None:
    """Count the batches of the epoch as ``dataloader`` does, which may cut them differently."""
    samples = (progress.loader or {}).get("own", {}).get("samples")
    if samples is not None and progress.batch_in_epoch:
        progress.batch_in_epoch = batches_before(dataloader, samples) or progress.batch_in_epoch


def open_epoch(dataloader: DataLoader, progress: Progress) -> Iterator[Any]:
    """Iterate over the rest of the epoch that ``progress`` is in; see the table above."""
    state, progress.loader = progress.loader or {}, None
    start = progress.batch_in_epoch
    if "own" in state and _has_state(dataloader):
        dataloader.load_state_dict(state["own"])  # pyrefly: ignore[missing-attribute]
        set_epoch(dataloader, progress.epoch)
        if start == 0:  # only seeds were of interest
            skip_batches(dataloader, 0)
        return iter(dataloader)
    set_epoch(dataloader, progress.epoch)
    if skip_batches(dataloader, start):
        return iter(dataloader)
    if start == 0:
        progress.loader = {"random": random_state_dict()}
        return iter(dataloader)
    progress.loader = {"random": state.get("random") or random_state_dict()}
    return _pass_over(dataloader, start, progress.loader["random"])


def _pass_over(dataloader: DataLoader, batches: int, random_state: dict[str, Any]) -> Iterator[Any]:
    outer_state = random_state_dict()
    load_random_state_dict(random_state)
    try:
        iterator = iter(dataloader)
        # In this process the indices can be drawn without loading what they stand for. Workers have
        # random states of their own, which only loading brings to where they were.
        by_index = dataloader.num_workers == 0 and not isinstance(
            dataloader.dataset, IterableDataset
        )
        draw = getattr(iterator, "_next_index", None) if by_index else None
        for _ in range(batches):
            next(iterator) if draw is None else draw()
    except StopIteration:
        return iter(())
    finally:
        load_random_state_dict(outer_state)
    return iterator


def _is_ours(dataloader: DataLoader) -> bool:
    """Whether positions of ``dataloader`` count samples of all ranks."""
    return getattr(dataloader, "order", None) is not None


def _has_state(dataloader: DataLoader) -> bool:
    if hasattr(dataloader, "order") and not _is_ours(dataloader):
        return False  # built from a config, but its dataset is iterable
    return hasattr(dataloader, "state_dict") and hasattr(dataloader, "load_state_dict")
