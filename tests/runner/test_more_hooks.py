"""The smaller hooks."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from drivetrain.runner import TrainingInterrupted
from drivetrain.runner.hooks import (
    Hook,
    InterruptHook,
    LoggerHook,
    NaiveVisualizationHook,
    ProgressHook,
)


class SignalAt(Hook):
    """Send this process a signal in the middle of an iteration."""

    def __init__(self, iteration: int, signum: int) -> None:
        self.iteration, self.signum = iteration, signum

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), self.signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_a_signal_stops_after_the_step_with_a_checkpoint(make_runner, signum) -> None:
    before = signal.getsignal(signum)
    runner = make_runner(custom_hooks=[InterruptHook(), SignalAt(7, signum)])
    with pytest.raises(TrainingInterrupted) as stop:
        runner.train()
    assert stop.value.signum == signum
    assert torch.load(stop.value.checkpoint, weights_only=True)["progress"]["iter"] == 7
    assert signal.getsignal(signum) is before
    resumed = make_runner(resume=True)
    resumed.load_or_resume()
    assert (resumed.epoch, resumed.iter) == (1, 7)


def test_an_unknown_signal_is_refused() -> None:
    with pytest.raises(ValueError, match="SIGNOTHING"):
        InterruptHook(signals=["SIGNOTHING"])


@pytest.mark.parametrize("interval", [0, -1, 2.5])
def test_a_logging_interval_that_makes_no_sense_is_refused(interval) -> None:
    with pytest.raises(ValueError, match="interval"):
        LoggerHook(interval=interval)


def test_progress_is_silent_where_it_is_disabled(make_runner, capsys) -> None:
    make_runner(custom_hooks=[ProgressHook(enabled=False)]).train()
    assert "━" not in capsys.readouterr().out


def test_predictions_are_handed_to_the_visualizer(make_runner, loader_of) -> None:
    drawn = []

    class Net(torch.nn.Module):
        def test_step(self, data):
            return [f"prediction {i}" for i in range(len(data["inputs"]))]

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index):
            return {"inputs": torch.full((3, 4, 5), float(index))}

    nothing = ["train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"]
    nothing += ["val_dataloader", "val_cfg", "val_evaluator"]
    runner = make_runner(
        **dict.fromkeys(nothing),
        model=Net(),
        test_dataloader=loader_of(
            dataset=Images(), batch_size=2, sampler={"type": "DefaultSampler", "shuffle": False}
        ),
        test_cfg={},
        test_evaluator=[],
        custom_hooks=[NaiveVisualizationHook(interval=2)],
    )
    runner.visualizer.add_datasample = lambda name, image, sample, **kwargs: drawn.append(
        (name, image, sample)
    )
    runner.test()
    assert [name for name, _, _ in drawn] == ["test_img_1_0", "test_img_1_1"]
    assert drawn[0][1].shape == (4, 5, 3)
    assert np.all(drawn[1][1] == 3.0)
    assert drawn[1][2] == "prediction 1"


def test_runtime_facts_are_in_the_message_hub(make_runner) -> None:
    runner = make_runner()
    runner.train()
    hub = runner.message_hub
    assert (hub.get_info("max_iters"), hub.get_info("max_epochs")) == (10, 2)
    assert hub.get_info("dataset_meta") == {"classes": ("negative", "positive")}
    assert len(hub.get_scalar("train/lr").data[0]) == 10
    assert hub.get_scalar("train/time").current() > 0
