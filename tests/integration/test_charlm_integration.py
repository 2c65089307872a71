"""The character model: one config, three ways to train it, one loss curve."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

CHARLM = "examples/charlm/config.py"
TINY = [
    *["model.channels=16", "model.layers=2", "model.heads=2", "model.length=32"],
    *["train_dataloader.dataset.length=32", "val_dataloader.dataset.length=32"],
    *["+train_dataloader.dataset.max_chars=50000", "val_dataloader.dataset.max_chars=20000"],
    *["train_cfg.max_iters=8", "default_hooks.logger.interval=2"],
    *["custom_hooks.0.interval_iters=2", "custom_hooks.2.num_chars=12"],
    *["default_hooks.checkpoint.interval=100"],
]


def curve(work_dir: Path) -> tuple[list[float], list[float]]:
    """The losses of the whole batch, and the metrics of the validation."""
    (file,) = work_dir.glob("*/vis_data/scalars.json")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    losses = [record["global_loss"] for record in records if "global_loss" in record]
    return losses, [record["bits_per_char"] for record in records if "bits_per_char" in record]


@pytest.mark.slow
def test_the_strategies_have_one_loss_curve_and_write_one_text(start, tmp_path) -> None:
    """Equal but for the order of sums: 1e-5 of a loss of 4.5 is some ten roundings of float32."""
    commands, seen = {}, {}
    for name, launch in (("single", []), ("ddp", ["--launch", "2"]), ("fsdp", ["--launch", "2"])):
        words = ["train", CHARLM, *TINY, *launch, "--strategy", name]
        commands[name] = start(*words, "--work-dir", str(tmp_path / name))
    for name, command in commands.items():
        assert command.finish() == 0, command.text
        sample = command.text.split("Sample:\n")[1].split("Results")[0]
        megabytes = float(re.search(r"state_mb (\S+),", command.text)[1])
        seen[name] = (*curve(tmp_path / name), sample, megabytes)
    losses, bits, sample, megabytes = seen["single"]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    for name in ("ddp", "fsdp"):
        assert seen[name][0] == pytest.approx(losses, rel=1e-5)
        assert seen[name][1] == pytest.approx(bits, rel=1e-5)
        assert seen[name][2] == sample
    assert seen["ddp"][3] == megabytes
    assert seen["fsdp"][3] < 0.6 * megabytes


def test_a_strategy_that_does_not_exist_or_does_not_fit_is_one_error(start, tmp_path) -> None:
    unknown = start("train", CHARLM, "--strategy", "fdsp", "--work-dir", str(tmp_path))
    alone = start("train", CHARLM, "--strategy", "ddp", "--work-dir", str(tmp_path))
    assert unknown.finish() == 2
    assert "--strategy: no strategy 'fdsp'." in unknown.text
    assert "single, ddp, fsdp" in unknown.text
    assert alone.finish() != 0
    assert "nothing launched them" in alone.text
    assert "Traceback" not in alone.text
