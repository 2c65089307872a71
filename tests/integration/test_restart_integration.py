"""A worker that is killed costs the steps since the last checkpoint, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

HOOK = """
import os, signal
from drivetrain.registry import HOOKS
from drivetrain.runner.hooks import Hook

@HOOKS.register_module()
class KilledHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if first and runner.rank == 1 and runner.iter == 8:
            os.kill(os.getpid(), signal.SIGKILL)
"""
CONFIG = """
_base_ = [{charlm!r}]
import sys
sys.path[:0] = [{folder!r}, {here!r}]
custom_imports = dict(imports=["charlm", "kill_hook"])
model = dict(channels=16, layers=1, heads=2, length=32)
train_dataloader = dict(dataset=dict(length=32, max_chars=50000))
val_dataloader = val_cfg = val_evaluator = None
train_cfg = dict(max_iters=12)
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=-1))
custom_hooks = {hooks}
"""


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_ends_bit_for_bit(start, tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[2] / "examples" / "charlm"
    (tmp_path / "kill_hook.py").write_text(HOOK)
    places = {"charlm": str(folder / "config.py"), "folder": str(folder), "here": str(tmp_path)}
    commands = {}
    for name, hooks in (("whole", []), ("killed", [{"type": "KilledHook"}])):
        (tmp_path / f"{name}.py").write_text(CONFIG.format(hooks=hooks, **places))
        work_dir = str(tmp_path / "runs" / name)
        words = ["train", str(tmp_path / f"{name}.py"), "--work-dir", work_dir]
        commands[name] = start(*words, "--launch", "2", "--max-restarts", "1")
    for command in commands.values():
        assert command.finish() == 0, command.text
    assert "iter_5.pth" in commands["killed"].text  # gone on from there
    whole, killed = (
        torch.load(tmp_path / "runs" / name / "iter_12.pth", weights_only=True) for name in commands
    )
    for part in ("optimizer", "param_schedulers", "random_state"):
        assert repr(whole[part]) == repr(killed[part]), part
    whole, killed = whole["state_dict"], killed["state_dict"]
    assert [name for name in whole if not torch.equal(whole[name], killed[name])] == []
