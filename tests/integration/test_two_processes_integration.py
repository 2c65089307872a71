"""The same training in two processes: equal weights on both, exact metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

HOOK = """
import torch
from drivetrain.registry import HOOKS
from drivetrain.runner.hooks import Hook

@HOOKS.register_module()
class KeepWeightsHook(Hook):
    def after_train(self, runner):
        torch.save(runner.model.module.state_dict(), f"{runner.work_dir}/rank_{runner.rank}.pth")
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    """The digits for two epochs, with a hook that keeps every rank's weights."""
    (tmp_path / "keep_weights.py").write_text(HOOK)
    digits = Path(__file__).resolve().parents[2] / "examples" / "digits"
    (tmp_path / "two.py").write_text(
        f"_base_ = [{str(digits / 'config.py')!r}]\n"
        f"import sys\n"
        f"sys.path.insert(0, {str(digits)!r})\n"
        "custom_imports = dict(imports=['digits', 'keep_weights'])\n"
        "custom_hooks = _base_.custom_hooks + [dict(type='KeepWeightsHook')]\n"
        "train_cfg = dict(max_epochs=2)\n"
    )
    return str(tmp_path / "two.py")


def check(work_dir: Path, text: str) -> None:
    first, second = (torch.load(work_dir / f"rank_{rank}.pth") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # 180 validation images do not divide evenly into batches and ranks: exact means out of 180.
    folder = max(path for path in work_dir.iterdir() if path.is_dir())
    lines = (folder / "vis_data" / "scalars.json").read_text().splitlines()
    val = [r["accuracy"] for r in map(json.loads, lines) if r.get("mode") == "val"]
    assert len(val) == 2
    assert all(abs(value * 180 - round(value * 180)) < 1e-9 for value in val)
    assert len(re.findall(r"Epoch\(val\) \[2\]", text)) == 1  # one rank speaks


def test_torchrun_trains_with_equal_weights_and_exact_metrics(start, config, tmp_path) -> None:
    work_dir = tmp_path / "work"
    command = start(
        *["train", config, "--work-dir", str(work_dir), "--no-test"],
        launcher=["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"],
    )
    assert command.finish() == 0, command.text
    check(work_dir, command.text)


def test_launch_option_trains_and_resumes_like_torchrun(start, config, tmp_path) -> None:
    work_dir = tmp_path / "work"
    words = ["train", config, "--launch", "2", "--work-dir", str(work_dir), "--no-test"]
    command = start(*words)
    assert command.finish() == 0, command.text
    check(work_dir, command.text)
    whole = torch.load(work_dir / "rank_0.pth")
    (work_dir / "epoch_2.pth").unlink()
    resumed = start(*words, "--resume")
    assert resumed.finish() == 0, resumed.text
    assert "epoch_1.pth" in resumed.text
    again = torch.load(work_dir / "rank_0.pth")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_mistake_in_the_config_is_one_error_not_one_per_process(start, config) -> None:
    command = start("train", config, "--launch", "2", "model.widht=3")
    assert command.finish() == 2
    assert command.text.count("model.widht") <= 2
    assert "Traceback" not in command.text
