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
UNSTEADY |= {"wall_time", "val/time", "val/data_time", "memory", "best_ckpt", "last_ckpt"}
UNSTEADY |= {"settings", "kept"}  # "kept" also names what rotation was about to remove


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
        self,
        work_dir: Path,
        options: dict[str, Any],
        kill_at: int,
        ranks: int = 1,
        *,
        then: dict[str, Any] | None = None,
        then_ranks: int | None = None,
        **job: Any,
    ) -> Path:
        """Train until a kill in step ``kill_at``, and go on, with ``then`` as further options."""
        codes = self.run(work_dir, options, ranks=ranks, kill_at=kill_at, **job)
        assert codes == [KILLED] * ranks
        ranks = then_ranks or ranks
        options = {**options, **(then or {})}
        assert self.run(work_dir, options, ranks=ranks, resume=True, **job) == [0] * ranks
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
        same = left.dtype == right.dtype and left.shape == right.shape
        same = same and bool(((left == right) | (left != left) & (right != right)).all())
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


SPECIAL: dict[str, dict[str, Any]] = {
    "a schedule by a metric, early stop, best score": {
        "param_scheduler": {
            "type": "ReduceOnPlateauLR",
            "monitor": "gap",
            "patience": 1,
            "threshold": 0.02,
        },
        "train_cfg": {"by_epoch": False, "max_iters": ITERATIONS, "val_interval": 2},
        "custom_hooks": [
            {"type": "EarlyStoppingHook", "monitor": "gap", "rule": "less", "patience": 6}
        ],
    },
    "several optimizers": {
        "model": "two",
        "optim_wrappers": {"constructor": "Halves"},
        "param_scheduler": {
            name: [{"type": "LinearLR", "start_factor": 0.1, "end": 14, "by_epoch": False}]
            for name in ("body", "head")
        },
    },
    "a loss scale that moves": {
        "optim_wrapper": {
            "type": "AmpOptimWrapper",
            "dtype": "float16",
            "loss_scale": {"init_scale": 2.0**20, "growth_interval": 3},
            "clip_grad": {"max_norm": 1.0},
        }
    },
    "a sampler without end": {"train_cfg": LOOPS["iterations"], "sampler": "InfiniteSampler"},
    "a last, shorter batch": {"batch_size": 5, "length": 28},
}


@pytest.mark.parametrize("special", SPECIAL, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize(
    "kill_at",
    [pytest.param(5, marks=pytest.mark.slow), 8, pytest.param(11, marks=pytest.mark.slow)],
)
def test_everything_that_has_a_state_goes_on_with_it(trainings, tmp_path, special, kill_at) -> None:
    options = {"train_cfg": LOOPS["epochs"], "batch_size": 4, **SPECIAL[special]}
    whole = trainings.whole(json.dumps(options), 1)
    killed = trainings.interrupted(tmp_path / "killed", options, kill_at)
    name = (whole / "last_checkpoint").read_text().strip().rpartition("/")[2]
    assert differences(state_of(whole, name), state_of(killed, name)) == []
    assert records_of(whole) == records_of(killed)


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), (2, 1)])
@pytest.mark.parametrize("loop", LOOPS)
def test_the_number_of_workers_may_change(trainings, tmp_path, loop, before, after) -> None:
    options = options_of(loop, 1, "float32", 1, ema=False)
    whole = trainings.whole(json.dumps(options), 1)
    first, then = {**options, "num_workers": before}, {"num_workers": after}
    assert_same_end(whole, trainings.interrupted(tmp_path / "killed", first, 9, then=then))


def test_the_seed_of_the_run_is_the_one_it_began_with(trainings, tmp_path) -> None:
    """Also that of the samples: their order, and what is random about each."""
    options = options_of("epochs", 1, "float32", 1, ema=False)
    whole = trainings.whole(json.dumps(options), 1)
    assert trainings.run(tmp_path / "killed", options, kill_at=9) == [KILLED]
    assert trainings.run(tmp_path / "killed", options, resume=True, seed=4) == [0]
    assert_same_end(whole, tmp_path / "killed")


def order_of(file: Path) -> dict[int, list[int]]:
    """For each epoch, the samples in the global order: that in which one rank would take them."""
    steps: dict[tuple[int, int], dict[int, list[int]]] = {}
    for line in file.read_text().splitlines():
        epoch, iteration, rank, samples = json.loads(line)
        steps.setdefault((epoch, iteration), {})[rank] = samples
    order: dict[int, list[int]] = {}
    for (epoch, _), ranks in sorted(steps.items()):
        in_turns = itertools.zip_longest(*(ranks[rank] for rank in sorted(ranks)))
        order.setdefault(epoch, []).extend(n for turn in in_turns for n in turn if n is not None)
    return order


@pytest.mark.parametrize(
    ("ranks", "batch_size", "then_ranks", "then_batch_size"),
    [
        (2, 2, 1, 2),
        (1, 4, 2, 4),
        (2, 2, 3, 2),
        pytest.param(1, 4, 1, 3, marks=pytest.mark.slow),
        pytest.param(3, 1, 2, 4, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("sampler", ["DefaultSampler", "InfiniteSampler"])
def test_no_sample_is_lost_or_repeated_when_ranks_or_batch_size_change(
    trainings, tmp_path, ranks, batch_size, then_ranks, then_batch_size, sampler
) -> None:
    length = 36
    endless = sampler == "InfiniteSampler"
    options = {
        "batch_size": batch_size,
        "length": length,
        "batch_norm": False,  # batches of one sample occur
        "train_cfg": {"by_epoch": False, "max_iters": 25} if endless else LOOPS["epochs"],
        "sampler": sampler,
    }
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    note = {"note_samples": str(tmp_path / "whole")}
    assert trainings.run(tmp_path / "whole", {**options, "batch_size": 4}, **note) == [0]
    trainings.interrupted(
        tmp_path / "killed",
        options,
        kill_at=13,
        ranks=ranks,
        then={"batch_size": then_batch_size},
        then_ranks=then_ranks,
        note_samples=str(tmp_path / "killed"),
        every=1,
    )
    whole, killed = (order_of(tmp_path / name / "samples.txt") for name in ("whole", "killed"))
    if endless:
        common = min(len(whole[0]), len(killed[0]))
        assert common > length
        assert whole[0][:common] == killed[0][:common]
        return
    # Behind a whole epoch only what makes the ranks even may follow.
    assert {epoch: order[:length] for epoch, order in killed.items()} == whole
    assert all(len(order) < length + max(ranks, then_ranks) for order in killed.values())


def test_a_run_on_other_ranks_validates_saves_and_ends_as_its_config_says(
    trainings, tmp_path
) -> None:
    """Epochs get another number of iterations; what counts epochs does not notice."""
    options = {"batch_size": 2, "length": 24, "train_cfg": LOOPS["epochs"]}
    killed = trainings.interrupted(tmp_path / "killed", options, 8, ranks=2, then_ranks=1)
    records = records_of(killed)
    # Two ranks: 6 iterations an epoch, killed in the second; one rank: 8 for its rest, then 12.
    assert [step for mode, step in records if mode == "val"] == [6, 16, 28]
    assert (killed / "last_checkpoint").read_text().strip().endswith("iter_28.pth")
