"""Collectives on anything that pickle takes.

A rank outside of ``group`` may make the same calls: nothing happens, and it gets nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as torch_dist
from torch.distributed import ProcessGroup

from drivetrain.dist._errors import RankFailedError
from drivetrain.dist._group import get_rank, get_world_size, is_distributed, is_member

_T = TypeVar("_T")


def all_gather_object(data: Any, group: ProcessGroup | None = None) -> list[Any]:
    """The ``data`` of every rank, in the order of ranks; ``[data]`` without a process group."""
    world_size = get_world_size(group)
    if world_size <= 1:
        return [data] if is_member(group) else []
    received: list[Any] = [None] * world_size
    torch_dist.all_gather_object(received, data, group=group)
    return received


def gather_object(data: Any, dst: int = 0, group: ProcessGroup | None = None) -> list[Any] | None:
    """The ``data`` of every rank, in the order of ranks, on rank ``dst``.

    Args:
        data: Anything that pickle takes.
        dst: Global rank that receives.
        group: All ranks by default.

    Returns:
        As many objects as ranks on ``dst``, ``None`` elsewhere; ``[data]`` without a process
        group.
    """
    world_size = get_world_size(group)
    if world_size <= 1:
        return [data] if is_member(group) else None
    received: list[Any] | None = [None] * world_size if get_rank() == dst else None
    torch_dist.gather_object(data, received, dst=dst, group=group)
    return received


def broadcast_object_list(data: list[Any], src: int = 0, group: ProcessGroup | None = None) -> None:
    """Overwrite the items of ``data`` on all ranks with those of rank ``src``, in place.

    Args:
        data: A list, equally long on every rank; its items must be picklable on ``src``.
        src: Global rank that sends.
        group: All ranks by default.

    Raises:
        TypeError: If ``data`` is no list.
    """
    if not isinstance(data, list):
        raise TypeError(f"broadcast_object_list: data must be a list, got {type(data).__name__}.")
    if get_world_size(group) > 1:
        torch_dist.broadcast_object_list(data, src=src, group=group)


def broadcast_object(data: _T, src: int = 0, group: ProcessGroup | None = None) -> _T:
    """The ``data`` of one rank, on every rank.

    Args:
        data: Anything that pickle takes; only that of ``src`` matters.
        src: Global rank that sends.
        group: All ranks by default.

    Returns:
        What ``src`` gave; ``data`` itself without a process group.
    """
    box = [data]
    broadcast_object_list(box, src, group)
    return box[0]


def run_on_main(action: Callable[[], _T]) -> _T | None:
    """Do ``action`` on rank 0 while the others wait; if it fails, every rank raises.

    Args:
        action: Takes no arguments; called on rank 0 alone.

    Returns:
        What ``action`` returned, on rank 0; ``None`` elsewhere.

    Raises:
        RankFailedError: On the other ranks, if ``action`` raised on rank 0. There, its own error.
    """
    if not is_distributed():
        return action()
    result: _T | None = None
    error: Exception | None = None
    if get_rank() == 0:
        try:
            result = action()
        except Exception as err:
            error = err
    report = broadcast_object(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    if report is not None:
        raise RankFailedError(f"rank 0 failed: {report}", rank=0)
    return result


def run_on_all(action: Callable[[], _T]) -> _T:
    """Do ``action`` on every rank; if it fails on any, every rank raises.

    Args:
        action: Takes no arguments.

    Returns:
        What ``action`` returned here.

    Raises:
        RankFailedError: On ranks where ``action`` succeeded, if it raised elsewhere. Where it
            raised, its own error.
    """
    result: Any = None
    error: Exception | None = None
    try:
        result = action()
    except Exception as err:
        error = err
    report = None if error is None else f"{type(error).__name__}: {error}"
    for rank, theirs in enumerate(all_gather_object(report)):
        if theirs is not None and error is None:
            raise RankFailedError(f"rank {rank} failed: {theirs}", rank=rank)
    if error is not None:
        raise error
    return result
