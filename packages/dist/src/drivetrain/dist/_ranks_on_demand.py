"""Ranks for a test: forked, so that a group of them costs a fraction of a second."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch.distributed as torch_dist

_T = TypeVar("_T")

_ANSWER_TIMEOUT_S = 60


def on_ranks(world_size: int, function: Callable[..., _T], *args: Any) -> list[_T]:
    """Call ``function(*args)`` on each rank of a process group on CPUs; return what it returned.

    The ranks are forks of this process: nothing is imported again, and ``function`` may be a
    closure. So call it before this process uses a GPU, and only where there is ``fork``.

    Args:
        world_size: Ranks.
        function: What each rank does; what it returns must be picklable.
        *args: Its arguments, the same on each rank.

    Returns:
        What it returned, rank by rank.

    Raises:
        AssertionError: If a rank raised (with its traceback), or did not answer within a minute.
    """
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    context = multiprocessing.get_context("fork")
    pipes, processes = [], []
    with tempfile.TemporaryDirectory() as folder:  # a store of its own each time
        store = os.path.join(folder, "store")
        for rank in range(world_size):
            ours, theirs = context.Pipe()
            # No daemon: a loader in a rank has workers of its own.
            process = context.Process(
                target=_rank, args=(rank, world_size, store, theirs, function, args)
            )
            process.start()
            pipes.append(ours)
            processes.append(process)
        try:
            answers = [_answer(rank, pipe) for rank, pipe in enumerate(pipes)]
            for pipe in pipes:
                pipe.send(None)
            for process in processes:
                process.join(5)
        finally:
            for process in processes:
                process.kill()
                process.join()
    return answers


def _rank(
    rank: int,
    world_size: int,
    store: str,
    pipe: Connection,
    function: Callable[..., Any],
    args: Any,
) -> None:
    try:
        torch_dist.init_process_group(
            "gloo",
            store=torch_dist.FileStore(store, world_size),
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=30),
        )
        pipe.send((True, function(*args)))
    except BaseException:
        pipe.send((False, traceback.format_exc()))
    # A rank that is done must not close its connections while others are still making theirs.
    pipe.recv()
    torch_dist.destroy_process_group()


def _answer(rank: int, pipe: Connection) -> Any:
    if not pipe.poll(_ANSWER_TIMEOUT_S):
        raise AssertionError(f"rank {rank} did not answer in {_ANSWER_TIMEOUT_S} s")
    good, value = pipe.recv()
    if not good:
        raise AssertionError(f"rank {rank}:\n{value}")
    return value
