"""Who am I among how many: questions that have an answer with and without a process group."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch.distributed as torch_dist
from torch.distributed import ProcessGroup

from drivetrain.dist._errors import GroupError

_P = ParamSpec("_P")
_R = TypeVar("_R")

# The group of the ranks on this machine, and the default group it was made under. Torch keeps its
# default group in the same way; a group that outlived its default group is never handed out.
_local_group: tuple[ProcessGroup, ProcessGroup] | None = None


def is_distributed() -> bool:
    """Whether a default process group exists in this process."""
    return torch_dist.is_available() and torch_dist.is_initialized()


def get_default_group() -> ProcessGroup | None:
    """The group of all ranks, or ``None`` without a process group."""
    return torch_dist.group.WORLD if is_distributed() else None


def get_local_group() -> ProcessGroup | None:
    """The group of the ranks on this machine.

    Returns:
        ``None`` without a process group.

    Raises:
        GroupError: If there is a process group but ``init_local_group`` was not called.
    """
    if not is_distributed():
        return None
    group = _current_local_group()
    if group is None:
        raise GroupError(
            "get_local_group: the group of this machine does not exist yet.\n"
            "  Do:  call init_local_group(node_rank, num_gpus_per_node) on every rank first."
        )
    return group


def init_local_group(node_rank: int, num_gpus_per_node: int) -> None:
    """Make the group of the ranks that share a machine; every rank must call this.

    Args:
        node_rank: Number of this machine, from 0.
        num_gpus_per_node: Ranks on each machine; global ranks are numbered machine by machine.

    Raises:
        GroupError: Without a process group, when the group exists already, or when the numbers
            do not divide the ranks into machines.
    """
    global _local_group
    world = get_default_group()
    if world is None:
        raise GroupError("init_local_group: there is no process group; call init_dist first.")
    if _current_local_group() is not None:
        raise GroupError("init_local_group: the group of this machine exists already.")
    world_size = get_world_size()
    if num_gpus_per_node < 1 or world_size % num_gpus_per_node:
        raise GroupError(
            f"init_local_group: {world_size} ranks do not divide into machines of "
            f"{num_gpus_per_node}."
        )
    if node_rank != get_rank() // num_gpus_per_node:
        raise GroupError(
            f"init_local_group: rank {get_rank()} belongs to machine "
            f"{get_rank() // num_gpus_per_node}, not to node_rank={node_rank}."
        )
    # new_group is collective: every rank makes the groups of all machines, and keeps its own.
    for first in range(0, world_size, num_gpus_per_node):
        # Torch types what ranks outside of a group get, too; this rank is in the one that it keeps.
        group: Any = torch_dist.new_group(list(range(first, first + num_gpus_per_node)))
        if first == node_rank * num_gpus_per_node:
            _local_group = (group, world)


def _current_local_group() -> ProcessGroup | None:
    if _local_group is None or _local_group[1] is not get_default_group():
        return None
    return _local_group[0]


def get_backend(group: ProcessGroup | None = None) -> str | None:
    """Name of the backend of ``group`` in lower case, or ``None`` without a process group."""
    return torch_dist.get_backend(group) if is_distributed() else None


def get_world_size(group: ProcessGroup | None = None) -> int:
    """Number of ranks in ``group`` (all ranks by default); 1 without a process group."""
    return torch_dist.get_world_size(group) if is_distributed() else 1


def get_rank(group: ProcessGroup | None = None) -> int:
    """Rank of this process in ``group`` (in all by default); 0 without a process group."""
    return torch_dist.get_rank(group) if is_distributed() else 0


def is_member(group: ProcessGroup | None = None) -> bool:
    """Whether this process is one of ``group``; always true without a process group."""
    return get_world_size(group) > 0


def get_dist_info(group: ProcessGroup | None = None) -> tuple[int, int]:
    """``(rank, world_size)`` of this process in ``group``; ``(0, 1)`` without a process group."""
    return get_rank(group), get_world_size(group)


def get_local_size() -> int:
    """Number of ranks on this machine; 1 without a process group.

    Taken from ``init_local_group`` where that was called, else from what the launcher said.

    Raises:
        GroupError: If neither the launcher nor ``init_local_group`` has said it.
    """
    return _local("LOCAL_WORLD_SIZE", get_world_size) if is_distributed() else 1


def get_local_rank() -> int:
    """Rank of this process among those of this machine; 0 without a process group.

    Taken from ``init_local_group`` where that was called, else from what the launcher said.

    Raises:
        GroupError: If neither the launcher nor ``init_local_group`` has said it.
    """
    return _local("LOCAL_RANK", get_rank) if is_distributed() else 0


def _local(variable: str, ask: Callable[[ProcessGroup | None], int]) -> int:
    group = _current_local_group()
    if group is not None:
        return ask(group)
    if variable not in os.environ:
        raise GroupError(
            f"{variable} is not set and the group of this machine does not exist.\n"
            "  Do:  start through a launcher that sets it (torchrun), or call init_local_group."
        )
    return int(os.environ[variable])


def is_main_process(group: ProcessGroup | None = None) -> bool:
    """Whether this process is rank 0 of ``group``; always true without a process group."""
    return get_rank(group) == 0


def master_only(func: Callable[_P, _R]) -> Callable[_P, _R | None]:
    """Make ``func`` run on rank 0 only; on the other ranks it does nothing and returns ``None``."""

    @functools.wraps(func)
    def run_on_main(*args: _P.args, **kwargs: _P.kwargs) -> _R | None:
        return func(*args, **kwargs) if is_main_process() else None

    return run_on_main


def barrier(group: ProcessGroup | None = None) -> None:
    """Wait until every rank of ``group`` is here; nothing without a process group."""
    if is_distributed() and is_member(group):
        torch_dist.barrier(group)
