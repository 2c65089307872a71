"""Checkpoints that are written while training goes on are as safe as others."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as torch_dist

from drivetrain.checkpoint import CheckpointFolder, CheckpointWriteError, read_checkpoint_file
from drivetrain.dist import RankFailedError
from drivetrain.runner.hooks import CheckpointHook, Hook
from drivetrain.runner.hooks._background_saves import BackgroundSaves

_TIMEOUT_S = 60.0


class Gate:
    """Holds back every flush to the disk by a background thread until it is opened."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self._fsync = os.fsync

    def fsync(self, descriptor: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert self.is_open.wait(_TIMEOUT_S)
        self._fsync(descriptor)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A disk that is as slow as a test needs it."""
    gate = Gate()
    monkeypatch.setattr("drivetrain.checkpoint._write.os.fsync", gate.fsync)
    return gate


class AtIteration(Hook):
    """Call a function when an iteration is over."""

    priority = "LOWEST"

    def __init__(self, number: int, action: Callable[[Any], None]) -> None:
        self.number = number
        self.action = action

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if runner.iter + 1 == self.number:
            self.action(runner)


def with_async(*hooks: Hook, epochs: int = 3, **options: Any) -> dict[str, Any]:
    checkpoint = {"type": "CheckpointHook", "interval": 1, "async_save": True, **options}
    return {
        "default_hooks": {"checkpoint": checkpoint},
        "custom_hooks": list(hooks),
        "train_cfg": {"by_epoch": True, "max_epochs": epochs},
    }


def test_training_goes_on_while_a_checkpoint_is_written_and_ends_when_it_is_whole(
    make_runner: Callable[..., Any], tmp_path: Path, gate: Gate
) -> None:
    seen = []

    def look_and_open(runner: Any) -> None:  # in the second epoch, of five iterations
        seen.append((tmp_path / "work" / "epoch_1.pth").exists())
        gate.is_open.set()

    make_runner(**with_async(AtIteration(8, look_and_open), max_keep_ckpts=1)).train()

    assert seen == [False]
    folder = CheckpointFolder(tmp_path / "work")
    assert folder.names() == ["epoch_3.pth"]
    assert folder.latest() == str(tmp_path / "work" / "epoch_3.pth")


def test_what_is_saved_is_the_state_at_the_call(
    make_runner: Callable[..., Any], tmp_path: Path, gate: Gate
) -> None:
    opening = AtIteration(9, lambda runner: gate.is_open.set())
    make_runner(**with_async(opening), work_dir=str(tmp_path / "later")).train()
    at_once = with_async(async_save=False)
    make_runner(**at_once, work_dir=str(tmp_path / "now")).train()

    for name in ("epoch_1.pth", "epoch_2.pth"):
        later, now = (read_checkpoint_file(tmp_path / w / name) for w in ("later", "now"))
        for key in ("state_dict", "optimizer", "param_schedulers", "progress", "random_state"):
            assert repr(later[key]) == repr(now[key])


def test_the_pointer_moves_and_old_ones_go_only_when_the_new_one_is_whole(
    make_runner: Callable[..., Any], tmp_path: Path, gate: Gate
) -> None:
    folder = CheckpointFolder(tmp_path / "work")
    latest = []

    def look(runner: Any) -> None:
        latest.append((folder.latest(), folder.names()))
        gate.is_open.set()

    def close(runner: Any) -> None:
        (hook,) = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
        hook._saves.wait()
        gate.is_open.clear()

    gate.is_open.set()
    hooks = AtIteration(9, close), AtIteration(12, look)
    make_runner(**with_async(*hooks, max_keep_ckpts=1)).train()

    assert latest == [(str(tmp_path / "work" / "epoch_1.pth"), ["epoch_1.pth"])]


def test_a_failed_save_ends_the_training_at_a_step_border(
    make_runner: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "work" / "epoch_2.pth").mkdir(parents=True)  # no file can take this name
    runner = make_runner(**with_async(epochs=50))

    with pytest.raises(CheckpointWriteError, match=r"epoch_2\.pth"):
        runner.train()

    assert runner.iter <= 15
    assert CheckpointFolder(tmp_path / "work").latest() == str(tmp_path / "work" / "epoch_1.pth")


def test_the_failure_of_the_last_save_is_an_error_of_the_training(
    make_runner: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "work" / "epoch_3.pth").mkdir(parents=True)
    with pytest.raises(CheckpointWriteError, match=r"epoch_3\.pth"):
        make_runner(**with_async()).train()


class OpenAtSave(Hook):
    """Open the gate when the interrupt checkpoint is about to be written."""

    priority = "HIGHEST"

    def __init__(self, gate: Gate, in_the_way: Path | None = None) -> None:
        self.gate = gate
        self.in_the_way = in_the_way

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if runner.iter + 1 == 7:
            if self.in_the_way is not None:
                self.in_the_way.mkdir()  # no file can take this name any more
            self.gate.is_open.set()


def test_an_interrupt_checkpoint_waits_for_the_save_in_flight(
    make_runner: Callable[..., Any], tmp_path: Path, gate: Gate
) -> None:
    folder, seen = CheckpointFolder(tmp_path / "work"), []

    def interrupt(runner: Any) -> None:
        runner.save_interrupted()
        seen.append((folder.latest(), len(folder.names())))

    make_runner(**with_async(AtIteration(7, interrupt), OpenAtSave(gate))).train()

    assert seen == [(str(tmp_path / "work" / "interrupted_iter_7.pth"), 2)]


def test_an_interrupt_checkpoint_is_written_though_the_save_in_flight_failed(
    make_runner: Callable[..., Any], tmp_path: Path, gate: Gate
) -> None:
    paths: list[str] = []
    opening = OpenAtSave(gate, in_the_way=tmp_path / "work" / "epoch_1.pth")
    interrupting = AtIteration(7, lambda runner: paths.append(runner.save_interrupted()))
    with pytest.raises(CheckpointWriteError, match=r"epoch_1\.pth"):
        make_runner(**with_async(interrupting, opening)).train()

    assert CheckpointFolder(tmp_path / "work").latest() == paths[0]


def test_a_run_in_the_background_is_resumed_to_the_same_end(
    make_runner: Callable[..., Any], tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def stop(runner: Any) -> None:
        raise Stop

    whole = make_runner(**with_async(), work_dir=str(tmp_path / "whole")).train().state_dict()
    with pytest.raises(Stop):
        make_runner(**with_async(AtIteration(12, stop))).train()
    CheckpointFolder(tmp_path / "work").verify("epoch_2.pth")
    resumed = make_runner(**with_async(), resume=True).train().state_dict()

    assert repr(resumed) == repr(whole)


PROGRAM = """
import sys, torch
from torch import nn
from drivetrain.model import BaseModel
from drivetrain.runner import Runner
from drivetrain.runner.hooks import Hook

class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1000, 3000)
    def forward(self, inputs, mode="tensor"):
        return {"loss": self.layer(inputs).mean()}

class Fail(Hook):
    priority = "LOWEST"
    def after_train_epoch(self, runner):
        raise RuntimeError("a bug")

data = [{"inputs": torch.zeros(1000)}]
Runner(
    Net(), sys.argv[1],
    train_dataloader={
        "dataset": data, "batch_size": 1, "collate_fn": {"type": "default_collate"},
        "sampler": {"type": "DefaultSampler", "shuffle": True},
    },
    train_cfg={"by_epoch": True, "max_epochs": 3},
    optim_wrapper={"optimizer": {"type": "AdamW"}},
    default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, "async_save": True}},
    custom_hooks=[Fail()],
).train()
"""


def test_a_process_that_dies_of_an_error_leaves_when_its_checkpoint_is_whole(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "work")], capture_output=True, text=True
    )

    assert "RuntimeError: a bug" in done.stderr
    folder = CheckpointFolder(tmp_path / "work")
    assert folder.latest() == str(tmp_path / "work" / "epoch_1.pth")
    assert folder.verify("epoch_1.pth").method == "sha256"


def _save_on_rank_0(rank: int, store: str, folder: str, answers: Any) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    torch_dist.init_process_group(
        "gloo",
        store=torch_dist.FileStore(store, 2),
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=30),
    )
    saves = BackgroundSaves(CheckpointFolder(folder), agree_every_iters=2)
    if rank == 0:
        saves.writer.save("a.pth", {})
    saves.started()
    raised = None
    for iteration in range(1_000_000):  # each second asks the others, so this lasts long enough
        try:
            saves.check(iteration)
        except (CheckpointWriteError, RankFailedError) as err:
            raised = (iteration, type(err).__name__, "a.pth" in str(err))
            break
    answers.put((rank, raised))
    torch_dist.destroy_process_group()


def test_a_failure_on_rank_0_is_raised_on_all_ranks_at_the_same_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    arguments = (str(tmp_path / "store"), str(tmp_path / "file"), answers)
    ranks = [context.Process(target=_save_on_rank_0, args=(r, *arguments)) for r in (0, 1)]
    for process in ranks:
        process.start()
    raised = dict(answers.get(timeout=_TIMEOUT_S) for _ in ranks)
    for process in ranks:
        process.join(_TIMEOUT_S)

    assert [raised[rank][1:] for rank in (0, 1)] == [
        ("CheckpointWriteError", True),
        ("RankFailedError", True),
    ]
    assert raised[0][0] == raised[1][0]
    assert raised[0][0] % 2 == 0
