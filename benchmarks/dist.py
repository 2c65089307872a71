"""What several processes cost: the engine, starting, collecting results, saving in shards.

All on this machine, with gloo. What the two ranks do is in ``ranks/two_ranks.py``: in a folder of
its own, for Python looks for modules beside a script, and there is a ``logging.py`` here.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
STARTS = 3
#: The digits in two processes, as one would write it by hand, until the first iteration is done.
BY_HAND = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from digits_by_hand import network, read_digits

dist.init_process_group("gloo")
rows = torch.from_numpy(read_digits())
data = TensorDataset(rows[:, :64].reshape(-1, 1, 8, 8), rows[:, 64].long())
loader = DataLoader(data, batch_size=64, sampler=DistributedSampler(data))
model = DistributedDataParallel(network())
optimizer = torch.optim.AdamW(model.parameters(), lr=0.004)
for images, labels in loader:
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if dist.get_rank() == 0:
        print("FIRST", time.time(), flush=True)
    break
dist.barrier()
dist.destroy_process_group()
"""
#: Its network and data: no imports but torch and numpy.
DIGITS = """
import gzip
from importlib.util import find_spec
from pathlib import Path
import numpy as np
from torch import nn

def read_digits():
    folder = find_spec("sklearn").submodule_search_locations[0]
    with gzip.open(Path(folder, "datasets", "data", "digits.csv.gz"), "rt") as lines:
        return np.array([line.split(",") for line in lines], dtype=np.float32)

def network(width=32):
    def block(inputs, outputs):
        return nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
    return nn.Sequential(
        *block(1, width), *block(width, width), nn.MaxPool2d(2), *block(width, 2 * width),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10),
    )
"""
#: The command, made to end after one iteration and to say when that was.
UNTIL_FIRST = """
import sys, time
from drivetrain.runner import Runner
from drivetrain.runner.hooks import Hook

class UntilFirst(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.rank == 0:
            print("FIRST", time.time(), flush=True)
        raise SystemExit

register_hooks = Runner.register_hooks

def with_ours(self, *args, **kwargs):
    register_hooks(self, *args, **kwargs)
    self.register_hook(UntilFirst(), priority="LOWEST")

Runner.register_hooks = with_ours
sys.argv = ["drivetrain", "train", "examples/digits/config.py", "--work-dir", sys.argv[1]]

from drivetrain.cli import main

main()
"""


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def two_ranks(what: str) -> list[dict[str, float]]:
    """The figures of both ranks of ``two_ranks.py``."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, *TORCHRUN, str(HERE / "ranks" / "two_ranks.py"), what, str(out)]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{what}: {done.stderr[-2000:]}")
        return json.loads(out.read_text(encoding="utf-8"))


def first_iteration_s(script: str, argument: str) -> float:
    """Seconds from starting two ranks to the end of the first iteration of rank 0."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.py"
        path.write_text(script, encoding="utf-8")
        (Path(folder) / "digits_by_hand.py").write_text(DIGITS, encoding="utf-8")
        command = [sys.executable, *TORCHRUN, str(path), argument or folder]
        started_s = time.time()
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)
        found = re.search(r"FIRST (\S+)", done.stdout)
        if found is None:
            raise RuntimeError(done.stderr[-2000:])
        return float(found[1]) - started_s


def start_up() -> tuple[float, float]:
    """Seconds to the first iteration: by hand, and by the command."""
    by_hand, by_command = [], []
    for _ in range(STARTS):
        by_hand.append(first_iteration_s(BY_HAND, ""))
        with tempfile.TemporaryDirectory() as work_dir:
            by_command.append(first_iteration_s(UNTIL_FIRST, work_dir))
    return statistics.median(by_hand), statistics.median(by_command)


def row(name: str, measured: float, unit: str, limit: float | None = None) -> dict[str, Any]:
    ok = limit is None or measured <= limit
    return {"name": name, "measured": measured, "unit": unit, "limit": limit, "ok": ok}


def engine_rows() -> list[dict[str, Any]]:
    ranks = two_ranks("engine")
    over = {name: max(rank[name] - rank["hand"] for rank in ranks) for name in ("default", "bare")}
    hand = max(rank["hand"] for rank in ranks)
    return [
        row("iteration of a hand-written DDP loop, 2 ranks", hand, "µs CPU"),
        row("engine over it, default hooks", over["default"], "µs CPU"),
        row("engine over it, optional hooks off", over["bare"], "µs CPU", 30),
    ]


def collect_rows() -> list[dict[str, Any]]:
    ours, theirs = two_ranks("collect"), two_ranks("gather")
    seconds = max(rank["s"] for rank in ours)
    ratio = seconds / max(rank["s"] for rank in theirs)
    memory = max(rank["peak_mb"] for rank in ours)
    return [
        row("collect_results of 100,000 results, 2 ranks", seconds * 1e3, "ms"),
        row("collect_results over all_gather_object", ratio, "x", 2),
        row("collect_results, rise of the peak of memory", memory, "MB", 64),
    ]


def stall_rows() -> list[dict[str, Any]]:
    ranks = two_ranks("stall")
    copy = max(rank["copy_ms"] for rank in ranks)
    stall = max(rank["save_ms"] for rank in ranks)
    return [
        row(f"copy of a shard of {ranks[0]['shard_mb']:.0f} MB", copy, "ms"),
        row("stall of a sharded save in the background, over it", stall / copy, "x", 1.2),
    ]


def start_rows() -> list[dict[str, Any]]:
    by_hand, by_command = start_up()
    return [
        row("2 ranks to the first iteration, hand-written", by_hand, "s"),
        row("`drivetrain train` over it", by_command / by_hand, "x", 1.2),
    ]


def run() -> list[dict[str, Any]]:
    """Rows for the table of all benchmarks."""
    return [*engine_rows(), *start_rows(), *stall_rows(), *collect_rows()]


if __name__ == "__main__":
    for line in run():
        limit = "" if line["limit"] is None else f"limit {line['limit']}"
        print(f"{line['name']:<60} {line['measured']:>8.3g} {line['unit']:<7} {limit}")
