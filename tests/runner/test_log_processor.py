"""Log lines and records."""

from __future__ import annotations

import re

import pytest

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


def test_one_iteration_reads_the_device_only_where_a_line_is_written(make_runner) -> None:
    """Values stay tensors until the logger asks: two lines, two reads."""
    import torch

    reads = []
    original = torch.Tensor.tolist

    def counting(self):
        reads.append(1)
        return original(self)

    torch.Tensor.tolist = counting
    try:
        make_runner(
            train_cfg={"by_epoch": True, "max_epochs": 4},
            val_cfg=None,
            val_dataloader=None,
            val_evaluator=None,
            default_hooks={"checkpoint": None, "logger": {"type": "LoggerHook", "interval": 5}},
        ).train()
    finally:
        torch.Tensor.tolist = original
    assert len(reads) <= 8
