"""Hooks that have to agree among ranks: preempted together, stopped together, counted together."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch

MODULE = """
import os, time
import torch
from torch import nn
from torch.utils.data import Dataset
from drivetrain.model import BaseModel
from drivetrain.registry import DATASETS, HOOKS, MODELS
from drivetrain.runner.hooks import Hook

@DATASETS.register_module()
class WatchedPoints(Dataset):
    def __init__(self, bad=-1):
        self.bad = bad

    def __len__(self):
        return 40

    def __getitem__(self, index):
        point = torch.randn(4, generator=torch.Generator().manual_seed(index))
        return {"x": point + 1000 * (index == self.bad)}

class Log(nn.Module):
    def forward(self, x):
        return x if x.abs().max() < 100 else torch.log(-x.abs())

@MODELS.register_module()
class WatchedNet(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            Log(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1)
        )

    def forward(self, x, mode="tensor"):
        return {"loss": self.layers(x).square().mean()}

@HOOKS.register_module()
class SlowHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        time.sleep(0.03)
        if runner.iter == 4 and not runner._resume:
            with open(f"{runner.work_dir}/pid_{runner.rank}.tmp", "w") as file:
                file.write(str(os.getpid()))
            os.replace(file.name, f"{runner.work_dir}/pid_{runner.rank}")

    def after_train(self, runner):
        torch.save(runner.model.module.state_dict(), f"{runner.work_dir}/end_{runner.rank}.pth")
        throughput = [hook for hook in runner.hooks if type(hook).__name__ == "ThroughputHook"]
        if throughput:
            with open(f"{runner.work_dir}/samples_{runner.rank}", "w") as file:
                file.write(str(throughput[0].samples_seen))
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Four epochs of ten iterations on two ranks."""
    (tmp_path / "watched.py").write_text(MODULE)
    (tmp_path / "cfg.py").write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "custom_imports = dict(imports=['watched'])\n"
        "model = dict(type='WatchedNet')\n"
        "train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(type='WatchedPoints'),\n"
        "    sampler=dict(type='DefaultSampler', shuffle=False))\n"
        "train_dataloader['collate_fn'] = dict(type='default_collate')\n"
        "train_cfg = dict(by_epoch=True, max_epochs=4)\n"
        "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))\n"
        "custom_hooks = [dict(type='PreemptionHook', agree_every_iters=3),\n"
        "    dict(type='NaNWatchHook'), dict(type='ThroughputHook', interval_iters=5),\n"
        "    dict(type='SyncBuffersHook'), dict(type='SlowHook')]\n"
        "default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=100))\n"
        "randomness = dict(seed=1)\n"
    )
    return str(tmp_path / "cfg.py")


def wait_for_ranks(command, work_dir: Path) -> None:
    """Wait until both ranks are in the middle of the training."""
    command.wait_for("Checkpoints will be saved")
    deadline_s = time.monotonic() + 60
    while not all((work_dir / f"pid_{rank}").exists() for rank in (0, 1)):
        assert command.process.poll() is None, command.text
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def end(work_dir: Path, rank: int = 0) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / f"end_{rank}.pth", weights_only=True)


@pytest.mark.slow
def test_ranks_are_preempted_together_whoever_gets_the_signal(start, config, tmp_path) -> None:
    whole, by_launcher, by_rank = (tmp_path / name for name in ("whole", "launcher", "rank"))
    words = ["train", config, "--launch", "2", "--work-dir"]
    done, stopped = start(*words, str(whole)), start(*words, str(by_launcher))
    wait_for_ranks(stopped, by_launcher)
    stopped.send(signal.SIGUSR1)
    assert stopped.finish() == 143, stopped.text
    assert done.finish() == 0, done.text
    assert [(whole / f"samples_{rank}").read_text() for rank in (0, 1)] == ["160", "160"]
    for name in ("layers.2.running_mean", "layers.2.running_var"):
        assert torch.equal(end(whole, 0)[name], end(whole, 1)[name]), name
    resumed, stopped = start(*words, str(by_launcher), "--resume"), start(*words, str(by_rank))
    wait_for_ranks(stopped, by_rank)
    os.kill(int((by_rank / "pid_1").read_text()), signal.SIGTERM)
    assert stopped.finish() == 143, stopped.text
    assert "failed first" not in stopped.text
    assert list(by_rank.glob("interrupted_iter_*.pth"))
    assert resumed.finish() == 0, resumed.text
    for rank in (0, 1):
        for name, value in end(whole, rank).items():
            assert torch.equal(end(by_launcher, rank)[name], value), (rank, name)


@pytest.mark.slow
def test_a_loss_of_one_rank_that_is_no_number_stops_both_and_names_it(
    start, config, tmp_path
) -> None:
    work_dir = tmp_path / "work"
    # In order, sample 27 is in the seventh batch of rank 1.
    command = start(
        *["train", config, "+train_dataloader.dataset.bad=27"],
        *["--launch", "2", "--work-dir", str(work_dir)],
    )
    assert command.finish() == 1, command.text
    text = command.text
    assert (
        len(re.findall(r"iteration 7 \(epoch 1, batch 7\): the loss is nan on rank 1", text)) == 1
    )
    assert "layers.0 (Log): 8 nan of 8 values in its output; its input is finite" in text
    assert "Samples of the batch: 25, 27" in text
    assert [path.name for path in (work_dir / "nan_watch").iterdir()] == ["iter_7_rank_1.pth"]
