"""Checkpoints that the reference engine itself wrote, as published, are read without running it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from drivetrain.checkpoint import find_latest_checkpoint, load_checkpoint, read_checkpoint_file

PACKAGES = (
    "platformdirs",
    "mmengine==0.10.7",
    "addict",
    "termcolor",
    "yapf",
    "opencv-python-headless<5",
)
PROGRAM = """
import sys, numpy, torch
from torch import nn
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner

class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)
    def forward(self, inputs, mode="tensor"):
        out = self.layer(inputs)
        return {"loss": out.pow(2).mean()} if mode == "loss" else [out]

class Accuracy(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1)
    def compute_metrics(self, results):
        return {"acc": numpy.float64(0.5)}

def loader(shuffle):
    return dict(
        dataset=[{"inputs": torch.randn(4)} for _ in range(8)], batch_size=4,
        collate_fn=dict(type="default_collate"),
        sampler=dict(type="DefaultSampler", shuffle=shuffle),
    )

Runner(
    Net(), sys.argv[1], train_dataloader=loader(True), val_dataloader=loader(False),
    train_cfg=dict(by_epoch=True, max_epochs=2), val_cfg=dict(),
    val_evaluator=dict(type=Accuracy),
    optim_wrapper=dict(optimizer=dict(type="AdamW")),
    param_scheduler=[dict(type="LinearLR", start_factor=0.1, end=2)],
    custom_hooks=[dict(type="EMAHook")],
    default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1, save_best="acc")),
).train()
"""


@pytest.fixture(scope="module")
def reference_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a training with the reference engine, in a folder that only it imports."""
    folder = tmp_path_factory.mktemp("reference")
    # This very pip: an older one does not know each setting that the environment makes for it.
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile"]
    installed = subprocess.run(
        [*install, "--target", str(folder / "packages"), *PACKAGES], capture_output=True, text=True
    )
    if installed.returncode != 0:
        said = (installed.stdout + installed.stderr)[-400:]
        pytest.skip(f"the reference engine cannot be installed: {said}")
    trained = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder / "work")],
        env={**os.environ, "PYTHONPATH": str(folder / "packages")},
        capture_output=True,
        text=True,
    )
    assert trained.returncode == 0, trained.stderr[-2000:]
    return folder / "work"


@pytest.mark.slow
def test_a_training_of_the_reference_engine_is_read_as_plain_data(reference_run: Path) -> None:
    latest = find_latest_checkpoint(reference_run)
    assert latest == str(reference_run / "epoch_2.pth")

    checkpoint = read_checkpoint_file(latest)

    losses = checkpoint["message_hub"]["log_scalars"]["train/loss"]["values"]
    assert losses.shape == (4,)
    assert checkpoint["message_hub"]["runtime_info"]["best_score"] == 0.5
    assert (checkpoint["meta"]["epoch"], checkpoint["meta"]["iter"]) == (2, 4)
    assert {"state_dict", "ema_state_dict", "optimizer", "param_schedulers"} <= set(checkpoint)
    assert "mmengine" not in sys.modules
    model = nn.Sequential()
    model.add_module("layer", nn.Linear(4, 2))
    load_checkpoint(model, latest, strict=True, logger="silent")
