"""Loops: when they validate, when they stop, what they count."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from drivetrain.runner import BaseLoop, EpochBasedTrainLoop, calc_dynamic_intervals
from drivetrain.runner._progress import Progress
from drivetrain.runner.hooks import Hook
from drivetrain.structures import BaseDataElement


class WhenValidated(Hook):
    """Remember the finished epochs and iterations at each validation."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.iters: list[int] = []

    def before_val(self, runner) -> None:
        self.epochs.append(runner.epoch)
        self.iters.append(runner.iter)


EPOCH_CASES = {
    "every epoch": ({}, [1, 2, 3, 4, 5]),
    "every second, and the last": ({"val_interval": 2}, [2, 4, 5]),
    "from the third on": ({"val_begin": 3}, [3, 4, 5]),
    "more often later": ({"val_interval": 3, "dynamic_intervals": [(4, 1)]}, [3, 4, 5]),
}


@pytest.mark.parametrize(("options", "expected"), EPOCH_CASES.values(), ids=EPOCH_CASES)
def test_epochs_are_validated_when_asked(make_runner, options, expected) -> None:
    hook = WhenValidated()
    make_runner(
        train_cfg={"by_epoch": True, "max_epochs": 5, **options}, custom_hooks=[hook]
    ).train()
    assert hook.epochs == expected


ITER_CASES = {
    "never but at the end": ({}, [12]),
    "every fourth": ({"val_interval": 4}, [4, 8, 12]),
    "from the sixth on": ({"val_interval": 3, "val_begin": 6}, [6, 9, 12]),
    "more often later": ({"val_interval": 6, "dynamic_intervals": [(8, 2)]}, [6, 8, 10, 12]),
}


@pytest.mark.parametrize(("options", "expected"), ITER_CASES.values(), ids=ITER_CASES)
def test_iterations_are_validated_when_asked(make_runner, options, expected) -> None:
    hook = WhenValidated()
    make_runner(
        train_cfg={"by_epoch": False, "max_iters": 12, **options},
        log_processor={"by_epoch": False},
        custom_hooks=[hook],
    ).train()
    assert hook.iters == expected


@pytest.mark.parametrize("length", [{"by_epoch": True, "max_epochs": 2}, {"max_iters": 10}])
def test_a_validation_that_a_hook_runs_takes_the_place_of_none(make_runner, length) -> None:
    """It may be one of other weights; only a resumed run asks whether its step is validated."""

    class Twice(Hook):
        priority = "LOWEST"

        def __init__(self) -> None:
            self.accuracies: list[float] = []

        def after_val_epoch(self, runner, metrics=None) -> None:
            self.accuracies.append(metrics["acc"])

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            if runner.iter == 9:
                runner.val_loop.run()

    hook = Twice()
    make_runner(
        train_cfg={"by_epoch": False, **length, "val_interval": 100}, custom_hooks=[hook]
    ).train()
    assert len(hook.accuracies) == 2


def test_stop_training_ends_after_the_epoch(make_runner) -> None:
    class Stop(Hook):
        def after_train_epoch(self, runner) -> None:
            runner.train_loop.stop_training = True

    runner = make_runner(train_cfg={"by_epoch": True, "max_epochs": 9}, custom_hooks=[Stop()])
    runner.train()
    assert runner.epoch == 1


def test_a_finite_loader_is_gone_through_again_by_an_iteration_loop(make_runner) -> None:
    seen: list[float] = []

    class Look(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            seen.append(float(data_batch["x"].sum()))

    runner = make_runner(
        train_cfg={"by_epoch": False, "max_iters": 12},
        log_processor={"by_epoch": False},
        custom_hooks=[Look()],
    )
    runner.train()
    assert runner.progress.epoch == 2
    assert len(set(seen)) == 12  # each pass in another order, each sample shaken anew


def test_the_model_is_back_in_training_mode_after_a_validation(make_runner) -> None:
    modes: list[bool] = []

    class Look(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            modes.append(runner.model.training)

        def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
            modes.append(not runner.model.training)

    make_runner(
        train_cfg={"by_epoch": False, "max_iters": 6, "val_interval": 2},
        log_processor={"by_epoch": False},
        custom_hooks=[Look()],
    ).train()
    assert all(modes)


def test_losses_that_a_model_reports_in_validation_join_the_metrics(
    make_runner, classifier
) -> None:
    class Reports(classifier):
        def forward(self, x, y, mode="tensor"):
            if mode == "predict":
                loss = BaseDataElement(
                    loss={"loss_ce": torch.tensor(0.5), "loss_l2": torch.tensor(0.25)}
                )
                return [*super().forward(x, y, mode), loss]
            return super().forward(x, y, mode)

    metrics = make_runner(model=Reports()).val()
    assert metrics["loss_ce"] == 0.5
    assert metrics["loss"] == 0.75
    assert set(metrics) == {"acc", "loss_ce", "loss_l2", "loss"}


def test_no_gradients_are_kept_in_validation(make_runner) -> None:
    enabled: list[bool] = []

    class Look(Hook):
        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            enabled.append(torch.is_grad_enabled())

    make_runner(custom_hooks=[Look()]).val()
    assert not any(enabled)


def test_fp16_validation_runs_under_autocast(make_runner) -> None:
    seen: list[bool] = []

    class Look(torch.nn.Module):
        def val_step(self, data):
            seen.append(torch.is_autocast_enabled("cpu"))
            return [(torch.tensor(1), torch.tensor(1))]

    nothing = dict.fromkeys(("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"))
    make_runner(model=Look(), val_cfg={"fp16": True}, **nothing).val()
    assert all(seen)


def test_dynamic_intervals_start_with_the_first_interval() -> None:
    assert calc_dynamic_intervals(2, [(5, 1), (9, 3)]) == ([0, 5, 9], [2, 1, 3])


class OwnEpochs(EpochBasedTrainLoop):
    """Epochs as a user writes them: no method of the base class is called."""

    def run_epoch(self) -> None:
        self.runner.call_hook("before_train_epoch")
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def run_iter(self, idx, data_batch) -> None:
        outputs = self.runner.model.train_step(data_batch, self.runner.optim_wrapper)
        self.runner.call_hook(
            "after_train_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs
        )
        self._iter += 1


class OwnLoop(BaseLoop):
    """A loop of a user's own kind, which keeps only the two counts."""

    def __init__(self, runner, dataloader, max_epochs) -> None:
        super().__init__(runner, dataloader)
        self.max_epochs, self.max_iters = max_epochs, max_epochs * len(self.dataloader)
        self._epoch = self._iter = 0

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def iter(self) -> int:
        return self._iter

    def run(self):
        self.runner.call_hook("before_train")
        while self._epoch < self.max_epochs:
            OwnEpochs.run_epoch(self)
        self.runner.call_hook("after_train")
        return self.runner.model

    run_iter = OwnEpochs.run_iter


@pytest.mark.parametrize("kind", [OwnEpochs, OwnLoop])
def test_a_loop_of_ones_own_is_saved_and_resumed_where_it_was(make_runner, kind) -> None:
    runner = make_runner(train_cfg={"type": kind, "max_epochs": 2})
    runner.train()
    assert sorted(path.name for path in Path(runner.work_dir).glob("*.pth")) == [
        "epoch_1.pth",
        "epoch_2.pth",
    ]
    longer = make_runner(train_cfg={"type": kind, "max_epochs": 3}, resume=True)
    longer.load_or_resume()
    assert (longer.epoch, longer.iter) == (2, 10)
    longer.train()
    assert (longer.epoch, longer.iter) == (3, 15)


class OwnEndlessLoop(BaseLoop):
    """Trains until it has enough of it, which nobody knows before."""

    epoch = iter = 0

    def run(self):
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        for idx, data_batch in enumerate(self.dataloader):
            self.runner.call_hook("before_train_iter", batch_idx=idx, data_batch=data_batch)
            outputs = self.runner.model.train_step(data_batch, self.runner.optim_wrapper)
            self.runner.call_hook(
                "after_train_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs
            )
            self.iter += 1
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model


@pytest.mark.parametrize("hook", ["EMAHook", "ThroughputHook", "ProgressHook", "NaNWatchHook"])
def test_a_loop_of_ones_own_may_have_no_end_that_is_known(make_runner, hook) -> None:
    options = {"enabled": True} if hook == "ProgressHook" else {}
    runner = make_runner(
        train_cfg={"type": OwnEndlessLoop},
        custom_hooks=[{"type": hook, **options}],
        default_hooks={"logger": {"type": "LoggerHook", "interval": 2}},
    )
    runner.train()
    log = next(Path(runner.work_dir).rglob("*.log")).read_text()
    assert re.findall(r"Epoch\(train\) .*\[1\]\[(\d)/5\]", log) == ["2", "4"]
    assert "eta:" not in log
    assert (runner.max_epochs, runner.iter) == (math.inf, 5)


class Stream(IterableDataset):
    """Data without a length."""

    def __iter__(self):
        yield from ()


@pytest.mark.parametrize(
    ("stage", "remedy"), [("train", "train by iterations"), ("val", "__len__")]
)
def test_data_without_a_length_is_refused_before_training(make_runner, stage, remedy) -> None:
    runner = make_runner(**{f"{stage}_dataloader": DataLoader(Stream())})
    with pytest.raises(ValueError, match=rf"{stage}_dataloader: a pass over Stream(.|\n)*{remedy}"):
        runner.train()


def test_positions_compare_by_their_counts_though_one_holds_a_random_state() -> None:
    state = {"random": torch.get_rng_state()}
    assert Progress(iter=3, loader=state) == Progress(iter=3)
