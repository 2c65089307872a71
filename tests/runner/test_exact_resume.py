"""A killed and resumed run ends where one ends that was never killed, bit for bit.

The runs are real processes (``resume_program.py``), killed by SIGKILL in the middle of a step.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

ITERATIONS = 18
KILLED = -9

#: What depends on the clock, or names a start or a folder of the run.
UNSTEADY = {"time", "data_time", "eta", "experiment_name", "train/time", "train/data_time"}
UNSTEADY |= {"val/time", "val/data_time", "memory", "best_ckpt", "last_ckpt"}
UNSTEADY |= {"kept"}  # a file that rotation was about to remove is still named after a kill


class Trainings:
    """Trainings in processes that are forked from one that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = Path(__file__).with_name("resume_program.py")
        self._server = subprocess.Popen(
            [sys.executable, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.whole = lru_cache(None)(self._whole)

    def run(self, work_dir: Path, options: dict[str, Any], **job: Any) -> list[int]:
        """Train; returns the exit code of each rank."""
        request = {"ranks": 1, "work_dir": str(work_dir), "options": options, **job}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        codes = json.loads(self._server.stdout.readline())
        errors = sorted(work_dir.glob("error_*.txt"))
        assert not errors, "\n".join(file.read_text() for file in errors)
        return codes

    def _whole(self, options: str, ranks: int) -> Path:
        work_dir = self.folder / f"whole_{abs(hash((options, ranks)))}"
        assert self.run(work_dir, json.loads(options), ranks=ranks) == [0] * ranks
        return work_dir

    def interrupted(
        self, work_dir: Path, options: dict[str, Any], kill_at: int, ranks: int = 1, **then: Any
    ) -> Path:
        """Train until a kill in step ``kill_at``, and go on with ``then`` as further options."""
        codes = self.run(work_dir, options, ranks=ranks, kill_at=kill_at)
        assert codes == [KILLED] * ranks
        assert self.run(work_dir, {**options, **then}, ranks=ranks, resume=True) == [0] * ranks
        return work_dir

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait()


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    started = Trainings(tmp_path_factory.mktemp("whole"))
    yield started
    started.close()


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Where two states differ; texts that only the clock decides are left out."""
    if isinstance(left, torch.Tensor):
        same = left.dtype == right.dtype and torch.equal(left, right)
        return [] if same else [path]
    if isinstance(left, dict):
        if left.keys() - UNSTEADY != right.keys() - UNSTEADY:
            return [f"{path}: {sorted(map(str, left))} {sorted(map(str, right))}"]
        keys = [key for key in left if key not in UNSTEADY]
        return [d for key in keys for d in differences(left[key], right[key], f"{path}.{key}")]
    if isinstance(left, (list, tuple)):
        if len(left) != len(right):
            return [f"{path}: {len(left)} {len(right)}"]
        pairs = enumerate(zip(left, right, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{path}.{i}")]
    same = left == right or (left != left and right != right)
    return [] if same else [f"{path}: {left!r} {right!r}"]


def state_of(work_dir: Path, name: str = f"iter_{ITERATIONS}.pth") -> dict[str, Any]:
    """Everything that the last checkpoint holds: with it training would go on."""
    return torch.load(work_dir / name, weights_only=True)


def records_of(work_dir: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """All JSON records of all starts by stage and step; what was written twice must agree."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            record = {k: v for k, v in json.loads(line).items() if k not in UNSTEADY}
            key = (record["mode"], record["step"])
            assert found.setdefault(key, record) == record
    return found


def assert_same_end(whole: Path, interrupted: Path) -> None:
    assert differences(state_of(whole), state_of(interrupted)) == []
    assert records_of(whole) == records_of(interrupted)


LOOPS = {
    "epochs": {"by_epoch": True, "max_epochs": 3},
    "iterations": {"by_epoch": False, "max_iters": ITERATIONS, "val_interval": 6},
}
AXES = {
    "loop": ["epochs", "iterations"],
    "workers": [0, 2],
    "ranks": [1, 2],
    "precision": ["float32", "bf16"],
    "accumulation": [1, 3],
    "ema": [False, True],
}
ALL = list(itertools.product(*AXES.values()))


def covers_all_pairs(case: tuple[Any, ...]) -> bool:
    """Eight of the 64 in which each pair of two choices comes together."""
    a, b, c, d, e, f = (AXES[axis].index(v) for axis, v in zip(AXES, case, strict=True))
    return (d, e, f) == (a ^ b, a ^ c, b ^ c)


def options_of(loop: str, ranks: int, precision: str, accumulation: int, ema: bool) -> dict:
    """Six iterations an epoch, on any number of ranks."""
    wrapper: dict[str, Any] = {"accumulative_counts": accumulation}
    if precision == "bf16":
        wrapper.update(type="AmpOptimWrapper", dtype="bfloat16")
    hooks = [{"type": "EMAHook", "momentum": 0.1, "update_buffers": True}] if ema else []
    return {
        "train_cfg": LOOPS[loop],
        "batch_size": 4 // ranks,
        "optim_wrapper": wrapper,
        "custom_hooks": hooks,
    }


def marked(case: tuple[Any, ...]) -> Any:
    text = "-".join(f"{axis}={v}" for axis, v in zip(AXES, case, strict=True))
    return pytest.param(*case, id=text, marks=[] if covers_all_pairs(case) else pytest.mark.slow)


@pytest.mark.parametrize(list(AXES), [marked(case) for case in ALL])
def test_a_killed_run_ends_as_if_it_had_not_been_killed(
    trainings, tmp_path, loop, workers, ranks, precision, accumulation, ema
) -> None:
    options = options_of(loop, ranks, precision, accumulation, ema)
    whole = trainings.whole(json.dumps(options), ranks)
    kill_at = random.Random(f"{options} {workers}").randint(3, ITERATIONS - 2)
    killed = trainings.interrupted(
        tmp_path / "killed", {**options, "num_workers": workers}, kill_at, ranks
    )
    assert_same_end(whole, killed)
