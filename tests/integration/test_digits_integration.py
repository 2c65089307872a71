"""The main job, as a newcomer runs it: one command trains a real network on real digits."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def weights(work_dir: Path, name: str = "epoch_3.pth") -> dict[str, torch.Tensor]:
    checkpoint = torch.load(work_dir / name, weights_only=True)
    average = {f"ema.{k}": v for k, v in checkpoint["ema_state_dict"].items()}
    return {**checkpoint["state_dict"], **average}


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    different = [name for name in left if not torch.equal(left[name], right[name])]
    assert not different


def run_folder(work_dir: Path) -> Path:
    return max(path for path in work_dir.iterdir() if path.is_dir())


def records(work_dir: Path, mode: str) -> list[dict]:
    lines = (run_folder(work_dir) / "vis_data" / "scalars.json").read_text().splitlines()
    return [r for r in map(json.loads, lines) if r.get("mode") == mode]


def test_training_leaves_everything_that_it_promises(whole_digits) -> None:
    command, work_dir = whole_digits
    assert "test accuracy" in command.text
    folder = run_folder(work_dir)
    assert next(work_dir.glob("best_nll_epoch_*.pth")).is_file()
    for picture in ("run.png", "misclassified.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    assert "Epoch(train) [3][20/20]" in (folder / f"{folder.name}.log").read_text()

    events = EventAccumulator(str(folder / "vis_data"))
    events.Reload()
    written = [(r["step"], r["loss"]) for r in records(work_dir, "train")]
    read = [(e.step, e.value) for e in events.Scalars("train/loss")]
    assert [step for step, _ in read] == [step for step, _ in written] == [10, 20, 30, 40, 50, 60]
    assert [v for _, v in read] == pytest.approx([v for _, v in written], rel=1e-6)
    assert [e.step for e in events.Scalars("val/accuracy")] == [20, 40, 60]


def test_a_killed_run_resumes_to_the_very_same_weights(
    start, digits, whole_digits, tmp_path
) -> None:
    # Checkpoints in the middle of epochs, too: the kill comes somewhere after the first.
    middle = ["+default_hooks.checkpoint.by_epoch=False", "default_hooks.checkpoint.interval=7"]
    killed = start(*digits, *middle, "--no-test")
    killed.wait_for("Saving checkpoint at 28 iterations")
    killed.send(signal.SIGKILL)
    assert killed.finish() == -signal.SIGKILL
    resumed = start(*digits, *middle, "--no-test", "--resume")
    assert resumed.finish() == 0, resumed.text
    assert "Resumed from" in resumed.text
    assert_equal(weights(whole_digits[1]), weights(tmp_path / "work", "iter_60.pth"))


def test_ctrl_c_saves_at_a_step_border_and_says_how_to_go_on(
    start, digits, whole_digits, tmp_path
) -> None:
    stopped = start(*digits, "--no-test")
    stopped.wait_for("[2][10/20]")
    stopped.send(signal.SIGINT)
    assert stopped.finish() == 130, stopped.text
    assert "--resume" in stopped.text
    assert "Traceback" not in stopped.text
    resumed = start(*digits, "--no-test", "--resume")
    assert resumed.finish() == 0, resumed.text
    assert_equal(weights(whole_digits[1]), weights(tmp_path / "work"))


def test_sigterm_saves_too_and_tells_it_by_the_exit_code(start, digits) -> None:
    stopped = start(*digits)
    stopped.wait_for("[1][10/20]")
    stopped.send(signal.SIGTERM)
    assert stopped.finish() == 143, stopped.text
    assert "interrupted_iter_" in stopped.text


@pytest.mark.slow
def test_a_third_of_the_training_reaches_its_score(start, tmp_path) -> None:
    """98.5 % is what the example promises; after a quarter, five seeds had 98.9 to 99.7 %."""
    words = ["train", "examples/digits/config.py", "train_cfg.max_epochs=20"]
    command = start(*words, "--work-dir", str(tmp_path / "work"))
    assert command.finish(timeout_s=600) == 0, command.text
    assert records(tmp_path / "work", "test")[-1]["accuracy"] >= 0.985
