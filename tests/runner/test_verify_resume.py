"""``verify_resume`` finds what makes a resumed training another one, and names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from drivetrain.config import Config
from drivetrain.testing import (
    ResumeNotExactError,
    TrialError,
    assert_resume_is_exact,
    verify_resume,
)

PROJECT = '''
import random
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from drivetrain.model import BaseModel
from drivetrain.registry import DATASETS, HOOKS, MODELS
from drivetrain.runner.hooks import Hook

noise = np.random.default_rng(0)


@DATASETS.register_module()
class Points(Dataset):
    def __init__(self, kind="global"):
        self.kind = kind

    def __len__(self):
        return 24

    def __getitem__(self, index):
        shake = {
            "global": lambda: random.random() + float(torch.randn(())),
            "own": lambda: float(noise.random()),
            "clock": lambda: time.perf_counter(),
        }[self.kind]()
        return {"x": torch.full((4,), index / 24) + 0.01 * shake, "y": index % 2}


@MODELS.register_module()
class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, x, y, mode="tensor"):
        return {"loss": nn.functional.cross_entropy(self.layers(x), y)}


@HOOKS.register_module()
class Forgetful(Hook):
    """Lowers the rate by a count that it keeps to itself."""

    def __init__(self):
        self.seen = 0

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen += 1
        for group in runner.optim_wrapper.param_groups:
            group["lr"] = 0.1 / self.seen


@HOOKS.register_module()
class Mindful(Forgetful):
    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]
'''

CONFIG = """
custom_imports = dict(imports=['shaky_project'])
model = dict(type='Net')
work_dir = 'work'
train_dataloader = dict(
    dataset=dict(type='Points'),
    batch_size=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
train_cfg = dict(by_epoch=True, max_epochs=2)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.1))
custom_hooks = [dict(type='Mindful')]
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project of a user's own: a config, and a module beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shaky_project.py").write_text(PROJECT)
    (tmp_path / "config.py").write_text(CONFIG)
    return str(tmp_path / "config.py")


def test_a_training_without_secrets_is_exact(config) -> None:
    report = assert_resume_is_exact(config, steps=9, kill_at=[2, 6])
    assert report.is_exact
    assert (report.steps, report.kill_at) == (9, [2, 6])
    assert "Resume is exact" in str(report)
    assert not Path("work").exists()


def test_a_hook_that_forgets_is_named_with_what_it_forgot(config) -> None:
    report = verify_resume(config, ["custom_hooks.0.type=Forgetful"], steps=8, kill_at=4)
    _, resumed = report.comparisons
    assert resumed.step == 5
    assert {finding.part for finding in resumed.findings} >= {"optimizer"}
    (suspect,) = resumed.suspects
    assert "hook Forgetful (shaky_project.Forgetful): seen" in suspect.name
    assert (suspect.expected, suspect.found) == ("5", "1")
    assert "state_dict()" in str(report)


@pytest.mark.slow
def test_a_dataset_with_a_generator_of_its_own_is_named(config) -> None:
    with pytest.raises(ResumeNotExactError, match="have other contents") as caught:
        assert_resume_is_exact(config, ["+train_dataloader.dataset.kind=own"], steps=8, kill_at=4)
    assert "module shaky_project: noise" in str(caught.value)
    assert "sample order" not in str(caught.value)


@pytest.mark.slow
def test_a_dataset_that_asks_the_clock_is_not_repeatable_to_begin_with(config) -> None:
    report = verify_resume(config, ["+train_dataloader.dataset.kind=clock"], steps=4, kill_at=2)
    assert not report.is_repeatable
    assert report.comparisons[0].step == 1
    assert {finding.part for finding in report.comparisons[0].findings} >= {"samples"}
    assert "NOT repeatable" in str(report)


@pytest.mark.slow
def test_ranks_and_workers_are_proved_as_well(config) -> None:
    changes = ["+train_dataloader.num_workers=1"]
    report = assert_resume_is_exact(config, changes, steps=5, kill_at=[2, 3], ranks=2)
    assert len(report.comparisons) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 4, "kill_at": 3}, "can be saved after steps 1 to 2, got 3"),
        ({"overrides": ["model.type=Nett"]}, "Did you mean"),
    ],
    ids=["no step left to compare", "a config that cannot be built"],
)
def test_a_proof_that_cannot_be_carried_out_says_why(config, arguments, message) -> None:
    with pytest.raises(TrialError, match=message):
        verify_resume(config, **arguments)


def test_a_config_that_fits_into_no_file_is_refused() -> None:
    with pytest.raises(TrialError, match="Give the path of a config file"):
        verify_resume(Config({"model": object()}))


@pytest.mark.slow
def test_the_command_exits_with_1_and_shows_the_culprit(config) -> None:
    command = [sys.executable, "-m", "drivetrain.cli", "verify", "resume", "config.py"]
    command += ["custom_hooks.0.type=Forgetful", "--steps", "5", "--kill-at", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "DIFFERS  saved after step 2, killed in step 3, resumed: first in step 3" in done.stdout
    assert "hook Forgetful (shaky_project.Forgetful): seen: 3 became 1" in done.stdout
