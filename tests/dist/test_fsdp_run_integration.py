"""Whole runs under FSDP2: averages, background saves and resumption, by the runner's own parts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from drivetrain.dist.strategy import DDPStrategy
from drivetrain.registry import DATASETS, MODELS, STRATEGIES

runner = pytest.importorskip("drivetrain.runner")
base = pytest.importorskip("drivetrain.model")

SHARDS = {
    "type": "FSDPStrategy",
    "wrap": {"classes": ["Linear"]},
    "state_dict_cfg": "sharded",
}
TENSOR = {
    "type": "FSDPStrategy",
    "mesh": {"tensor": 2},
    "tensor_parallel": {"first": "colwise", "second": "rowwise"},
}


class Samples(Dataset):
    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": torch.randn(4, generator=torch.Generator().manual_seed(index))}


class TwoLayers(base.BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, inputs: Tensor, mode: str = "tensor") -> Any:
        outputs = self.second(self.first(inputs).tanh())
        return {"loss": outputs.square().mean()} if mode == "loss" else outputs


class StrategyOfOnesOwn(DDPStrategy):
    """What a user would register."""


def _run(folder: str, strategy: Any, batch_size: int, epochs: int, resume: bool) -> Any:
    for registry, part in (
        (MODELS, TwoLayers),
        (DATASETS, Samples),
        (STRATEGIES, StrategyOfOnesOwn),
    ):
        registry.register_module(module=part, force=True)
    run = runner.FlexibleRunner(
        {"type": "TwoLayers"},
        work_dir=folder,
        train_dataloader={
            "dataset": {"type": "Samples"},
            "batch_size": batch_size,
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "collate_fn": {"type": "default_collate"},
        },
        train_cfg={"by_epoch": True, "max_epochs": epochs},
        optim_wrapper={
            "optimizer": {"type": "AdamW", "lr": 0.01},
            "clip_grad": {"max_norm": 0.5},
            "accumulative_counts": 2,
        },
        strategy=strategy,
        randomness={"seed": 3},
        custom_hooks=[{"type": "EMAHook", "momentum": 0.1}],
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, "async_save": True}},
        launcher="none" if strategy is None else "pytorch",
        resume=resume,
        log_level="ERROR",
    )
    run.train()
    (hook,) = (hook for hook in run.hooks if isinstance(hook, runner.hooks.EMAHook))
    states = (run.strategy._bare().state_dict(), hook.ema_model.module.state_dict())
    return [{name: _whole(value) for name, value in state.items()} for state in states]


def _whole(value: Tensor) -> Tensor:
    return (value.full_tensor() if hasattr(value, "full_tensor") else value).clone()


def _in_one_go_and_resumed(folder: str, strategy: Any, batch_size: int) -> Any:
    whole = _run(os.path.join(folder, "whole"), strategy, batch_size, 2, False)
    _run(os.path.join(folder, "parts"), strategy, batch_size, 1, False)
    return whole, _run(os.path.join(folder, "parts"), strategy, batch_size, 2, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "batch_size"),
    [(SHARDS, 2), (TENSOR, 4), ({"type": "StrategyOfOnesOwn"}, 2)],
    ids=["shards", "tensor", "own"],
)
def test_a_run_and_its_average_go_on_with_the_same_bits(
    ranks: Any, tmp_path: Path, strategy: Any, batch_size: int
) -> None:
    whole, resumed = ranks(_in_one_go_and_resumed, str(tmp_path), strategy, batch_size)[0]
    alone = _run(str(tmp_path / "alone"), None, 4, 2, False)
    for found, again, expected in zip(whole, resumed, alone, strict=True):
        for name, weight in expected.items():
            assert torch.equal(found[name], again[name]), name
            torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-6)
