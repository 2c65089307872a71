"""What the engine costs: CPU time of an iteration over the loop that one would write by hand.

Both loops train the same tiny model on the same loader object, in this process, in turn; a figure
is the median of the differences of neighbours, so that what else the machine does falls out.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel
from drivetrain.runner import Runner

ITERATIONS = 5_000
ROUNDS = 7
#: The command, made to end after one iteration and to say when that was.
UNTIL_FIRST_ITERATION = """
import sys, time
from drivetrain.runner._train_loops import TrainLoop

step = TrainLoop._step

def first(self, *args):
    step(self, *args)
    print("FIRST", time.time(), flush=True)
    raise SystemExit

TrainLoop._step = first
sys.argv = ["drivetrain", "train", "examples/digits/config.py", "--work-dir", sys.argv[1]]

from drivetrain.cli import main

main()
"""
ROOT = Path(__file__).resolve().parent.parent


class Tiny(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 2)

    def forward(self, x, y, mode="tensor"):
        out = self.layer(x)
        return {"loss": nn.functional.mse_loss(out, y)} if mode == "loss" else out


class Nothing(BaseMetric):
    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict[str, float]:
        return {"nothing": 0.0}


def make_loader(iterations: int = ITERATIONS) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(iterations, 8, generator=generator)
    return DataLoader(TensorDataset(x, x[:, :2].contiguous()), batch_size=1)


def by_hand(loader: DataLoader) -> float:
    model = Tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()
    started_s = time.process_time()
    for x, y in loader:
        loss = model(x, y, mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.process_time() - started_s


def by_engine(loader: DataLoader, **options) -> float:
    # All default hooks; but what saving costs is a figure of its own, and would be in this one.
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": -1, "save_last": False}}
    options.setdefault("default_hooks", hooks)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        runner = Runner(
            model=Tiny(),
            work_dir=folder,
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
            started_s = time.process_time()
            run_epoch()
            spent["s"] = time.process_time() - started_s

        loop.run_epoch = timed
        runner.train()
    return spent["s"]


def validation_by_hand(loader: DataLoader) -> float:
    model = Tiny().eval()
    started_s = time.process_time()
    with torch.no_grad():
        for x, y in loader:
            model(x, y, mode="predict")
    return time.process_time() - started_s


def validation_by_engine(loader: DataLoader) -> float:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        runner = Runner(
            model=Tiny(),
            work_dir=folder,
            val_dataloader=loader,
            val_cfg={},
            val_evaluator=Nothing(),
            randomness={"seed": 0},
        )
        loop = runner.val_loop
        runner.val()
        started_s = time.process_time()
        loop.run()
        return time.process_time() - started_s


def difference_us(engine, hand, loader: DataLoader) -> float:
    """Microseconds per iteration that ``engine`` takes more than ``hand``."""
    hand(loader)
    engine(loader)
    differences = [engine(loader) - hand(loader) for _ in range(ROUNDS)]
    return statistics.median(differences) / len(loader) * 1e6


class _DeviceReads(TorchDispatchMode):
    """Counts the operation by which ``item()`` and its kin wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def device_reads_per_line() -> float:
    """Reads of a device's value in 1,000 training iterations, for each of the 100 log lines."""
    with _DeviceReads() as reads:
        by_engine(make_loader(1_000))
    return reads.count / 100


def first_iteration_s() -> float:
    """Seconds from starting ``drivetrain train`` to the end of its first iteration."""
    taken = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            started_s = time.time()
            done = subprocess.run(
                [sys.executable, "-c", UNTIL_FIRST_ITERATION, folder],
                cwd=ROOT,
                capture_output=True,
                text=True,
            )
            line = next(line for line in done.stdout.splitlines() if line.startswith("FIRST"))
            taken.append(float(line.split()[1]) - started_s)
    return statistics.median(taken)


def row(name: str, measured: float, unit: str, limit: float) -> dict:
    return {
        "name": name,
        "measured": round(measured, 2),
        "unit": unit,
        "limit": limit,
        "ok": measured <= limit,
    }


def run() -> list[dict]:
    """Rows for the table of all benchmarks."""
    torch.set_num_threads(1)
    loader = make_loader()
    bare = dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "checkpoint"))
    without_hooks = lambda loader: by_engine(loader, default_hooks=bare)  # noqa: E731
    return [
        row(
            "training iteration over a hand-written loop, default hooks",
            difference_us(by_engine, by_hand, loader),
            "µs CPU",
            25,
        ),
        row(
            "training iteration over a hand-written loop, optional hooks off",
            difference_us(without_hooks, by_hand, loader),
            "µs CPU",
            10,
        ),
        row(
            "validation iteration over a hand-written loop",
            difference_us(validation_by_engine, validation_by_hand, loader),
            "µs CPU",
            8,
        ),
        row(
            "host reads of device values, 1,000 iterations", device_reads_per_line(), "per line", 1
        ),
        row("`drivetrain train` to its first iteration", first_iteration_s(), "s", 3),
    ]


if __name__ == "__main__":
    for line in run():
        print(f"{line['name']:<70} {line['measured']:>8} {line['unit']:<7} limit {line['limit']}")
