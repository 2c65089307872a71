"""Ranks that stay alive for a whole module, and a tiny model to train on them."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist

_HERE = Path(__file__).parent
_ANSWER_TIMEOUT_S = 60
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
torch.set_num_threads(1)


def _load(name: str) -> ModuleType:
    """Import a file beside this one under ``name``, so that forked ranks know it too."""
    spec = importlib.util.spec_from_file_location(name, _HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


tiny_training = _load("tiny_training")


def _serve(rank: int, world_size: int, store: str, pipe: Any) -> None:
    from drivetrain.registry.testing import reset_global_state

    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch_dist.init_process_group(
        "gloo",
        store=torch_dist.FileStore(store, world_size),
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=30),
    )
    while True:
        task = pipe.recv()
        if task is None:
            break
        function, args = task
        try:
            pipe.send((True, function(*args)))
        except BaseException:
            pipe.send((False, traceback.format_exc()))
        reset_global_state()
    torch_dist.destroy_process_group()


class Ranks:
    """Live ranks in one gloo group; call it with a module-level function to run it on all."""

    def __init__(self, world_size: int, store: Path) -> None:
        # Forked, not spawned: torch is imported already, and test functions are known by name.
        context = multiprocessing.get_context("fork")
        self._pipes = []
        self._processes = []
        for rank in range(world_size):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(rank, world_size, str(store), theirs), daemon=True
            )
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def __call__(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """What ``function(*args)`` returned, rank by rank."""
        for pipe in self._pipes:
            pipe.send((function, args))
        answers = []
        for rank, pipe in enumerate(self._pipes):
            if not pipe.poll(_ANSWER_TIMEOUT_S):
                self.kill()
                pytest.fail(f"rank {rank} did not answer in {_ANSWER_TIMEOUT_S} s")
            answers.append(pipe.recv())
        failures = [f"rank {r}:\n{text}" for r, (good, text) in enumerate(answers) if not good]
        if failures:
            pytest.fail("\n".join(failures), pytrace=False)
        return [value for _, value in answers]

    def kill(self) -> None:
        for process in self._processes:
            process.kill()

    def close(self) -> None:
        for pipe in self._pipes:
            try:
                pipe.send(None)
            except OSError:
                pass
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.kill()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    pool = Ranks(2, tmp_path_factory.mktemp("ranks") / "store")
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def four_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """For meshes of two dimensions; their tests are slow ones."""
    pool = Ranks(4, tmp_path_factory.mktemp("four_ranks") / "store")
    yield pool
    pool.close()


@pytest.fixture
def tiny() -> ModuleType:
    return tiny_training
