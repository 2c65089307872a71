"""What `benchmarks/dist.py` has two ranks do: ``torchrun ... two_ranks.py WHAT OUT``.

Each function returns what rank 0 writes into OUT: the figures of all ranks.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

from drivetrain import dist
from drivetrain.checkpoint import AsyncCheckpointWriter
from drivetrain.dist.strategy import FSDPStrategy
from drivetrain.model import BaseModel
from drivetrain.runner import Runner

ITERATIONS = 1_000
ROUNDS = 9
RESULTS = 100_000


class Tiny(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 2)

    def forward(self, x, y, mode="tensor"):
        out = self.layer(x)
        return {"loss": nn.functional.mse_loss(out, y)} if mode == "loss" else out


# ---- the engine over a loop written by hand --------------------------------------------------


def engine() -> dict:
    """CPU microseconds of one iteration: by hand, by the engine, and by it without options.

    Of the main thread: those of gloo work alike for all, and their waiting hides the difference.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ITERATIONS, 8, generator=generator)
    loader = DataLoader(TensorDataset(x, x[:, :2].contiguous()), batch_size=1)
    bare = dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "checkpoint"))
    by_hand(loader)
    taken: dict[str, list[float]] = {"hand": [], "default": [], "bare": []}
    for _ in range(ROUNDS):
        taken["hand"].append(by_hand(loader))
        taken["default"].append(by_engine(loader))
        taken["bare"].append(by_engine(loader, default_hooks=bare))
    return {name: min(times) / ITERATIONS * 1e6 for name, times in taken.items()}


def by_hand(loader: DataLoader) -> float:
    model = DistributedDataParallel(Tiny())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()
    dist.barrier()
    started_s = time.thread_time()
    for x, y in loader:
        loss = model(x, y, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.thread_time() - started_s


def by_engine(loader: DataLoader, **options) -> float:
    folder = dist.broadcast_object(tempfile.mkdtemp())
    with contextlib.redirect_stdout(io.StringIO()):
        runner = Runner(
            model=Tiny(),
            work_dir=folder,
            launcher="pytorch",
            train_dataloader=loader,
            train_cfg={"by_epoch": True, "max_epochs": 1},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01}},
            randomness={"seed": 0},
            **options,
        )
        loop = runner.train_loop
        spent = {}
        run_epoch = loop.run_epoch

        def timed() -> None:
            dist.barrier()
            started_s = time.thread_time()
            run_epoch()
            spent["s"] = time.thread_time() - started_s

        loop.run_epoch = timed
        runner.train()
    return spent["s"]


# ---- results of an evaluation ---------------------------------------------------------------


def small_results() -> list[dict]:
    rank, world_size = dist.get_dist_info()
    return [
        {"id": index, "score": index / 7, "label": index % 10}
        for index in range(rank, RESULTS, world_size)
    ]


def collect() -> dict:
    return timed_results(lambda results: dist.collect_results(results, RESULTS))


def gather_all() -> dict:
    return timed_results(dist.all_gather_object)


def timed_results(action) -> dict:
    """Seconds, and megabytes by which the peak of memory rose over that of holding the results."""
    results = small_results()
    held = small_results()  # as much as the result will need, to be let go at once
    del held
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    times = []
    for _ in range(5):
        dist.barrier()
        started_s = time.perf_counter()
        action(results)
        dist.barrier()
        times.append(time.perf_counter() - started_s)
    after_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    size_mb = len(pickle.dumps(results)) / 1e6
    return {"s": min(times), "peak_mb": after_mb - before_mb, "bytes_mb": size_mb}


# ---- a sharded checkpoint in the background ---------------------------------------------------


class Wide(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(8)))

    def forward(self, x, mode="tensor"):
        return {"loss": self.layers(x).square().mean()}


def stall() -> dict:
    """Milliseconds that a save in the background stops training, and that a copy takes."""
    folder = Path(dist.broadcast_object(tempfile.mkdtemp()))
    strategy = FSDPStrategy(
        work_dir=str(folder), state_dict_cfg="sharded", env_kwargs={"launcher": "pytorch"}
    )
    model, wrapper = strategy.prepare(
        Wide(), optim_wrapper={"optimizer": {"type": "AdamW", "lr": 1e-4}}
    )
    model.train_step({"x": torch.randn(4, 2048)}, wrapper)
    shards = [param.to_local() for param in model.parameters()]
    for state in wrapper.optimizer.state.values():
        shards += [v.to_local() for v in state.values() if hasattr(v, "to_local")]
    copies = [torch.empty_like(shard) for shard in shards]
    saves, copied = [], []
    with AsyncCheckpointWriter(folder) as writer:
        for step in range(8):
            dist.barrier()
            started_s = time.perf_counter()
            for copy, shard in zip(copies, shards, strict=True):
                copy.copy_(shard)
            copied.append(time.perf_counter() - started_s)
            dist.barrier()
            started_s = time.perf_counter()
            strategy.save_checkpoint(str(folder / f"iter_{step}"), background=writer)
            saves.append(time.perf_counter() - started_s)
            writer.wait()
    megabytes = sum(shard.nbytes for shard in shards) / 1e6
    # The first save makes the memory that the next ones use again.
    return {
        "save_ms": min(saves[1:]) * 1e3,
        "copy_ms": min(copied[1:]) * 1e3,
        "shard_mb": megabytes,
    }


ALL = {"engine": engine, "collect": collect, "gather": gather_all, "stall": stall}


def main() -> None:
    torch.set_num_threads(1)
    what, out = sys.argv[1:]
    dist.init_dist("pytorch", backend="gloo")
    seen = dist.all_gather_object(ALL[what]())
    if dist.is_main_process():
        Path(out).write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main()
