"""Ranks on demand: forked, so that a group of them costs a fraction of a second."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist

_ANSWER_TIMEOUT_S = 60
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
torch.set_num_threads(1)


def _rank(rank: int, world_size: int, store: str, pipe: Any, function: Any, args: Any) -> None:
    torch_dist.init_process_group(
        "gloo",
        store=torch_dist.FileStore(store, world_size),
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=30),
    )
    try:
        pipe.send((True, function(*args)))
    except BaseException:
        pipe.send((False, traceback.format_exc()))
    torch_dist.destroy_process_group()


@pytest.fixture
def on_ranks(tmp_path: Path) -> Callable[..., list[Any]]:
    """``on_ranks(world_size, function, *args)``: what the function returned, rank by rank."""

    def run(world_size: int, function: Callable[..., Any], *args: Any) -> list[Any]:
        context = multiprocessing.get_context("fork")
        store = tmp_path / f"store-{len(list(tmp_path.iterdir()))}"
        pipes, processes = [], []
        for rank in range(world_size):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_rank, args=(rank, world_size, str(store), theirs, function, args)
            )
            process.start()
            pipes.append(ours)
            processes.append(process)
        try:
            answers = [_answer(rank, pipe) for rank, pipe in enumerate(pipes)]
        finally:
            for process in processes:
                process.join(5)
                process.kill()
        return answers

    return run


def _answer(rank: int, pipe: Any) -> Any:
    if not pipe.poll(_ANSWER_TIMEOUT_S):
        pytest.fail(f"rank {rank} did not answer in {_ANSWER_TIMEOUT_S} s")
    good, value = pipe.recv()
    if not good:
        pytest.fail(f"rank {rank}:\n{value}", pytrace=False)
    return value
