"""Which share of the data is this rank's: ranks that hold parts of one layer work on one batch."""

from __future__ import annotations

from torch.distributed import ProcessGroup

from drivetrain.dist._group import get_default_group, get_dist_info

# How many neighbouring ranks see the same batch, and the default group for which that was said.
_sharing: tuple[int, ProcessGroup] | None = None


def share_data(ranks: int) -> None:
    """Say that each ``ranks`` neighbouring ranks work on one batch; without a group, nothing.

    Strategies say it; samplers and ``collect_results`` keep to it.

    Args:
        ranks: How many; 1 gives each rank data of its own.
    """
    global _sharing
    world = get_default_group()
    _sharing = None if world is None or ranks == 1 else (ranks, world)


def ranks_per_batch() -> int:
    """How many neighbouring ranks work on one batch: 1 unless layers are cut over ranks."""
    if _sharing is None or _sharing[1] is not get_default_group():
        return 1
    return _sharing[0]


def get_data_share() -> tuple[int, int]:
    """``(number, count)``: which of how many shares of the data this rank works on.

    The same as ``get_dist_info()`` unless layers are cut over ranks (tensor parallelism): ranks
    that hold parts of one layer must see the same samples.
    """
    rank, world_size = get_dist_info()
    return rank // ranks_per_batch(), world_size // ranks_per_batch()
