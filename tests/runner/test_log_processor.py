"""Log lines and records."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from drivetrain.dataset import num_samples
from drivetrain.runner import LogProcessor
from drivetrain.runner.hooks import Hook


def lines(capsys, pattern: str) -> list[str]:
    return [
        x.split(" - INFO - ")[1]
        for x in capsys.readouterr().out.splitlines()
        if re.search(pattern, x)
    ]


def test_lines_of_epochs_have_their_documented_shape(make_runner, capsys) -> None:
    make_runner(default_hooks={"logger": {"type": "LoggerHook", "interval": 5}}).train()
    number = r"\d+\.\d{4}"
    expected = (
        rf"Epoch\(train\) \[1\]\[5/5\]  lr: \d\.\d{{4}}e-\d\d  eta: 0:00:00  time: {number}  "
        rf"data_time: {number}  loss: {number}$"
    )
    out = lines(capsys, r"Epoch\(")
    assert re.match(expected, out[0]), out[0]
    assert re.match(
        rf"Epoch\(val\) \[1\]\[5/5\]  acc: {number}  data_time: {number}  time: {number}$", out[2]
    )


def test_lines_of_iterations_have_their_documented_shape(make_runner, capsys) -> None:
    make_runner(
        train_cfg={"by_epoch": False, "max_iters": 10},
        log_processor={"by_epoch": False},
    ).train()
    out = lines(capsys, r"Iter\(")
    assert out[0].startswith("Iter(train) [10/10]  lr: ")
    assert out[-1].startswith("Iter(val) [5/5]  acc: ")


def test_the_digits_of_a_line_are_as_many_as_asked_for(make_runner) -> None:
    runner = make_runner(log_processor={"num_digits": 2})
    runner.train()
    log = next(Path(runner.work_dir).rglob("*.log")).read_text()
    line = next(line for line in log.splitlines() if "Epoch(train)" in line)
    figures = re.findall(r"(\w+): (\d+\.\d\d(?:e-\d\d)?)(?= |$)", line)
    assert [name for name, _ in figures] == ["lr", "time", "data_time", "loss"]


def test_losses_are_averaged_over_the_window_and_rates_are_not(make_runner) -> None:
    records = []

    class Look(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            records.append((float(outputs["loss"]), dict(runner.log_processor.latest)))

    make_runner(
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1}},
        log_processor={"window_size": 3},
        custom_hooks=[Look()],
        param_scheduler=None,
    ).train()
    losses = [loss for loss, _ in records]
    assert records[4][1]["loss"] == pytest.approx(sum(losses[2:5]) / 3)
    assert records[4][1]["lr"] == 0.1
    assert records[4][1]["iter"] == 5


def test_custom_statistics_add_or_replace_figures(make_runner) -> None:
    cfg = [
        {"data_src": "loss", "method_name": "max", "window_size": "global", "log_name": "worst"},
        {"data_src": "loss", "method_name": "mean", "window_size": "epoch"},
    ]
    runner = make_runner(log_processor={"custom_cfg": cfg})
    runner.train()
    record, _ = runner.log_processor.get_log_after_iter(runner, 4, "train")
    values = runner.message_hub.get_scalar("train/loss").data[0]
    assert record["worst"] == pytest.approx(max(values))
    assert record["loss"] == pytest.approx(sum(values[-5:]) / 5)


WRONG = {
    "a figure replaced twice": (
        {"custom_cfg": [{"data_src": "loss", "method_name": "max"}] * 2},
        "twice",
    ),
    "epochs where iterations count": (
        {
            "by_epoch": False,
            "custom_cfg": [{"data_src": "loss", "method_name": "max", "window_size": "epoch"}],
        },
        "by_epoch",
    ),
    "no statistic": ({"custom_cfg": [{"data_src": "loss"}]}, "method_name"),
}


@pytest.mark.parametrize(("options", "text"), WRONG.values(), ids=WRONG)
def test_statistics_that_make_no_sense_are_refused(options, text) -> None:
    with pytest.raises(ValueError, match=text):
        LogProcessor(**options)


def test_a_training_reads_no_value_of_a_device_more_often_than_it_writes_lines(
    make_runner, capsys
) -> None:
    """``item()`` and its kin are one operation of torch, which waits for the device."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    runner = make_runner(
        train_cfg={"by_epoch": True, "max_epochs": 20},
        val_cfg=None,
        val_dataloader=None,
        val_evaluator=None,
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1}},
    )
    with Reads() as reads:
        torch.ones(()).item()
        runner.train()
    written = len(lines(capsys, r"Epoch\(train\)"))
    assert written == 100
    assert 1 <= reads.count <= written  # of which 20 are the seeds that loaders draw for workers


def records_of(work_dir) -> list[dict]:
    files = sorted(work_dir.glob("*/vis_data/scalars.json"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_all_records_tell_the_time_by_one_clock_also_after_a_resume(make_runner, tmp_path) -> None:
    hooks = {"logger": {"type": "LoggerHook", "interval": 5}}
    first = make_runner(default_hooks=hooks, train_cfg={"by_epoch": True, "max_epochs": 2})
    first.train()
    batch = next(iter(first.train_dataloader))
    size = num_samples(batch)
    again = make_runner(
        default_hooks=hooks, train_cfg={"by_epoch": True, "max_epochs": 4}, resume=True
    )
    again.train()
    records = records_of(Path(first.work_dir))
    for mode in ("train", "val"):
        own = [record for record in records if record["mode"] == mode]
        # The validation after the last checkpoint of the first start is made up for by the second.
        places = {(r["epoch"], r["iter"], r["step"], r["samples"]) for r in own}
        assert places == {(n, 5 * n, 5 * n, 5 * n * size) for n in (1, 2, 3, 4)}
    times = [record["wall_time"] for record in records if record["mode"] == "train"]
    assert times == sorted(times)
    assert times[0] > 0
