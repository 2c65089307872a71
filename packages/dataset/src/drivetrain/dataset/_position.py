"""Telling a loader which epoch comes, and where in it to start."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch.utils.data import BatchSampler, DistributedSampler

from drivetrain.dataset._errors import LoaderConfigError
from drivetrain.dataset._loader import KeyedDataLoader
from drivetrain.dataset._samplers import DefaultSampler


def set_epoch(dataloader: Any, epoch: int) -> None:
    """Tell a loader's samplers, and the randomness of its samples, which epoch comes next.

    Args:
        dataloader: Any loader; samplers that know no epochs are left alone.
        epoch: Finished epochs.

    Raises:
        LoaderConfigError: If ``epoch`` is negative.
    """
    if epoch < 0:
        raise LoaderConfigError(f"set_epoch: epochs count from 0 on, got {epoch}")
    if isinstance(dataloader, KeyedDataLoader) and dataloader.order is not None:
        dataloader.order.set_epoch(epoch)
        return
    batch_sampler = getattr(dataloader, "batch_sampler", None)
    parts = [getattr(dataloader, "sampler", None), batch_sampler]
    parts.append(getattr(batch_sampler, "sampler", None))
    for part in {id(part): part for part in parts}.values():
        if hasattr(part, "set_epoch"):
            part.set_epoch(epoch)


def skip_batches(dataloader: Any, number: int) -> bool:
    """Let the next ``iter(dataloader)``, and only that one, begin after ``number`` batches.

    No sample is loaded for the batches that are skipped. With ``DefaultSampler``,
    ``InfiniteSampler``, or a sampler of your own that offers ``start_at``, the cost does not
    depend on ``number``; with other samplers their indices are drawn and dropped.

    Args:
        dataloader: A loader from ``build_dataloader``.
        number: Batches of this rank.

    Returns:
        ``False`` where the loader cannot skip: it was not built by ``build_dataloader``, or its
        dataset is iterable. Then nothing has changed, and the batches must be replayed.

    Raises:
        LoaderConfigError: If ``number`` is negative.
    """
    _check_count("skip_batches", number)
    if not isinstance(dataloader, KeyedDataLoader) or dataloader.order is None:
        return False
    dataloader.order.skip_batches(number)
    return True


def skip_samples(dataloader: Any, number: int) -> bool:
    """Let the next iteration begin after ``number`` samples that *all ranks together* consumed.

    This is the position to store when a run may go on with another number of ranks or another
    batch size: the global order stays the same, so nothing is repeated and nothing lost.

    Args:
        dataloader: A loader from ``build_dataloader``.
        number: Samples of this epoch (for ``InfiniteSampler``: of the stream).

    Returns:
        ``False`` where the loader or its sampler has no such position; nothing has changed then.

    Raises:
        LoaderConfigError: If ``number`` is negative.
    """
    _check_count("skip_samples", number)
    if not isinstance(dataloader, KeyedDataLoader) or dataloader.order is None:
        return False
    return dataloader.order.skip_samples(number)


def batches_before(dataloader: Any, samples: int) -> int | None:
    """How many batches of its epoch a loader counts as behind it after ``samples`` of all ranks.

    After a change of the number of ranks or of the batch size that is no quotient any more: the
    rest of the epoch is cut into whole batches of the new size, and the last one keeps its number.

    Args:
        dataloader: A loader from ``build_dataloader``.
        samples: Samples of this epoch that all ranks together consumed.

    Returns:
        ``None`` where the loader or its sampler has no such position.
    """
    if not isinstance(dataloader, KeyedDataLoader) or dataloader.order is None:
        return None
    return dataloader.order.batches_before(samples)


class BatchExtent(NamedTuple):
    """How many samples a batch has, and how many at its end are padding."""

    num_samples: int
    num_padded: int


def batch_extent(dataloader: Any, batch_idx: int) -> BatchExtent:
    """How many samples batch ``batch_idx`` of an epoch has, and how many of them are padding.

    Padding are the samples that a sampler repeats so that all ranks get equally many. They sit at
    the end of the last batch; an exact metric leaves them out.

    Args:
        dataloader: A loader with ``DefaultSampler`` or PyTorch's ``DistributedSampler``.
        batch_idx: Counted from the beginning of the epoch, on this rank.

    Returns:
        ``(0, 0)`` where the order of the samples is not known.
    """
    batch_sampler = getattr(dataloader, "batch_sampler", None)
    if type(batch_sampler) is not BatchSampler:
        return BatchExtent(0, 0)
    sampler: Any = batch_sampler.sampler
    if isinstance(sampler, DefaultSampler):
        ranks = sampler.world_size
    elif isinstance(sampler, DistributedSampler):
        ranks = sampler.num_replicas
    else:
        return BatchExtent(0, 0)
    real = -(-(len(sampler.dataset) - sampler.rank) // ranks)
    first = batch_idx * batch_sampler.batch_size
    after = min(first + batch_sampler.batch_size, sampler.num_samples)
    return BatchExtent(max(after - first, 0), max(after - max(first, real), 0))


def _check_count(name: str, number: int) -> None:
    if number < 0:
        raise LoaderConfigError(f"{name}: cannot skip {number}; give the number consumed so far")
