"""A small run whose every number is the same each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel
from drivetrain.runner import Runner


class Points(Dataset):
    """Points ``(4,)``, shaken a little each time, and whether their sum is positive."""

    METAINFO = {"classes": ("negative", "positive")}

    def __init__(self, length: int = 20, noise: float = 0.1) -> None:
        generator = torch.Generator().manual_seed(7)
        self.points = torch.randn(length, 4, generator=generator)
        self.noise = noise
        self.metainfo = self.METAINFO

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict[str, Any]:
        point = self.points[index]
        return {"x": point + self.noise * torch.randn(4), "y": (point.sum() > 0).long()}


class Classifier(BaseModel):
    """Dropout draws random numbers, batch norm keeps buffers: both must survive a resume."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2)
        )

    def forward(self, x: torch.Tensor, y: torch.Tensor, mode: str = "tensor") -> Any:
        logits = self.layers(x)
        if mode == "loss":
            return {"loss": nn.functional.cross_entropy(logits, y)}
        return list(zip(logits.argmax(1), y, strict=True)) if mode == "predict" else logits


class Accuracy(BaseMetric):
    """Share of points on the right side."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += [int(guess == truth) for guess, truth in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {"acc": sum(results) / len(results)}


def loader(**changes: Any) -> dict[str, Any]:
    return {
        "dataset": Points(),
        "batch_size": 4,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "collate_fn": {"type": "default_collate"},
        **changes,
    }


@pytest.fixture
def make_runner(tmp_path: Any) -> Callable[..., Runner]:
    """Build a runner that trains for two epochs of five iterations; arguments replace."""

    def make(kind: type[Runner] = Runner, **changes: Any) -> Runner:
        arguments: dict[str, Any] = {
            "model": Classifier(),
            "work_dir": str(tmp_path / "work"),
            "train_dataloader": loader(),
            "train_cfg": {"by_epoch": True, "max_epochs": 2},
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}},
            "param_scheduler": [
                {"type": "LinearLR", "start_factor": 0.1, "end": 8, "by_epoch": False}
            ],
            "val_dataloader": loader(sampler={"type": "DefaultSampler", "shuffle": False}),
            "val_cfg": {},
            "val_evaluator": {"type": Accuracy},
            "randomness": {"seed": 3},
            **changes,
        }
        if "model" not in changes:  # the same weights every time
            torch.manual_seed(1)
            arguments["model"] = Classifier()
        return kind(**arguments)

    return make


@pytest.fixture
def points() -> type[Points]:
    """The dataset."""
    return Points


@pytest.fixture
def classifier() -> type[Classifier]:
    """The model."""
    return Classifier


@pytest.fixture
def accuracy() -> type[Accuracy]:
    """The metric."""
    return Accuracy


@pytest.fixture
def loader_of() -> Callable[..., dict[str, Any]]:
    """Config of a loader; arguments replace."""
    return loader
