"""torchdata's loader, which keeps its own position, in a run that is killed and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from drivetrain.model import BaseModel
from drivetrain.runner import Runner
from drivetrain.runner.hooks import Hook

stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

SAMPLES = torch.arange(20.0).unsqueeze(1)


class Recorder(BaseModel):
    def __init__(self, seen: list[list[int]]) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen = seen

    def forward(self, inputs: Tensor, mode: str = "tensor") -> dict[str, Tensor]:
        self.seen.append(inputs.flatten().int().tolist())
        return {"loss": self.layer(inputs / 20).square().mean()}


class Killed(Exception):
    """In place of a signal."""


class Kill(Hook):
    priority = "LOWEST"  # after the checkpoint of that iteration

    def __init__(self, at: int) -> None:
        self.at = at

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.at:
            raise Killed


def train(folder: Path, workers: int, *, kill_at: int = 0, resume: bool = False) -> list[list[int]]:
    seen: list[list[int]] = []
    torch.manual_seed(99 if resume else 5)  # the loader's order comes from the process's generator
    loader = stateful.StatefulDataLoader(
        torch.utils.data.TensorDataset(SAMPLES), batch_size=4, shuffle=True, num_workers=workers
    )
    runner = Runner(
        Recorder(seen),
        str(folder),
        train_dataloader=loader,
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        train_cfg={"by_epoch": True, "max_epochs": 3},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 1}},
        custom_hooks=[Kill(kill_at)] if kill_at else None,
        resume=resume,
        log_level="ERROR",
    )
    if not kill_at:
        runner.train()
        return seen
    with pytest.raises(Killed):
        runner.train()
    return seen


@pytest.mark.parametrize(("workers", "kill_at"), [(0, 2), (0, 5), (2, 8)])
def test_a_resumed_run_sees_the_batches_that_are_left(
    tmp_path: Path, workers: int, kill_at: int
) -> None:
    whole = train(tmp_path / "whole", workers)
    before = train(tmp_path / "killed", workers, kill_at=kill_at)
    after = train(tmp_path / "killed", workers, resume=True)
    assert before + after == whole
    assert all(
        sorted(i for batch in whole[e : e + 5] for i in batch) == list(range(20))
        for e in (0, 5, 10)
    )
