"""A run that is interrupted and resumed ends where one that was never interrupted ends."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from drivetrain.dist import StrategyError
from drivetrain.runner import RunnerConfigError
from drivetrain.runner.hooks import Hook


class Kill(Exception):
    """Stands for a kill: whatever was not on disk is lost."""


class KillAt(Hook):
    """End the run right after an iteration, before any hook that comes later."""

    priority = "LOWEST"

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.iteration:
            raise Kill


def everything(runner) -> dict[str, Any]:
    """All that must be equal at the end: everything but what a clock on the wall shows."""
    hooks = runner._hook_list.state_dict()
    del hooks["LoggerHook"]["wall_time"]
    return {
        "model": runner.model.state_dict(),
        "optimizer": runner.optim_wrapper.state_dict(),
        "schedulers": [s.state_dict() for s in runner.param_schedulers],
        "hooks": hooks,
        "loss": runner.message_hub.get_scalar("train/loss").data[0][-8:].tolist(),
        "acc": runner.message_hub.get_scalar("val/acc").data[0].tolist(),
        "rng": torch.get_rng_state(),
        "iter": runner.iter,
        "epoch": runner.epoch,
    }


def assert_same(left: Any, right: Any, path: str = "") -> None:
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right), path
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            assert_same(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right), path
        for index, (a, b) in enumerate(zip(left, right, strict=True)):
            assert_same(a, b, f"{path}.{index}")
    else:
        assert left == right, f"{path}: {left} != {right}"


EPOCHS = {"train_cfg": {"by_epoch": True, "max_epochs": 3}}
ITERS = {
    "train_cfg": {"by_epoch": False, "max_iters": 15, "val_interval": 5},
    "log_processor": {"by_epoch": False},
}
EMA = {"type": "EMAHook", "momentum": 0.2}


def train_interrupted(
    make_runner, tmp_path, kill_at: int, options: dict[str, Any], every: int
) -> Any:
    """Train whole, train killed and resumed; return both states."""
    checkpoint = {
        "type": "CheckpointHook",
        "interval": every,
        "by_epoch": False,
        "save_best": "acc",
    }
    hooks = options.pop("custom_hooks", [])

    def make(folder: str, extra: list, **changes: Any) -> Any:
        torch.manual_seed(99)  # what happened before must not matter
        return make_runner(
            **options,
            work_dir=str(tmp_path / folder),
            default_hooks={"checkpoint": dict(checkpoint)},
            custom_hooks=[dict(h) for h in hooks] + extra,
            **changes,
        )

    whole = make("whole", [])
    whole.train()
    expected = everything(whole)
    killed = make("killed", [KillAt(kill_at)])
    with pytest.raises(Kill):
        killed.train()
    torch.manual_seed(1234)
    resumed = make("killed", [], resume=True)
    resumed.train()
    return expected, everything(resumed)


@pytest.mark.parametrize("kill_at", [4, 7, 12], ids=lambda n: f"killed after {n}")
@pytest.mark.parametrize("options", [EPOCHS, ITERS], ids=["epochs", "iterations"])
@pytest.mark.parametrize("hooks", [[], [EMA]], ids=["plain", "ema"])
def test_resume_continues_mid_epoch_bit_for_bit(
    make_runner, tmp_path, kill_at, options, hooks
) -> None:
    expected, got = train_interrupted(
        make_runner, tmp_path, kill_at, {**options, "custom_hooks": hooks}, every=2
    )
    expected["hooks"]["CheckpointHook"] = got["hooks"]["CheckpointHook"] = None  # names of folders
    assert_same(expected, got)


def test_resume_continues_a_loader_object_bit_for_bit(make_runner, tmp_path, points) -> None:
    """Its order comes from the global generator, which a resume must bring back to where it was."""
    plain = DataLoader(points(), batch_size=4, shuffle=True)
    options = {**EPOCHS, "train_dataloader": plain}
    expected, got = train_interrupted(make_runner, tmp_path, 8, options, every=3)
    expected["hooks"] = got["hooks"] = None
    assert_same(expected, got)


def test_a_validation_lost_to_a_kill_is_made_up_for(make_runner, tmp_path) -> None:
    """An epoch's checkpoint is written before its validation; dying in between loses nothing."""

    class KillInValidation(Hook):
        def before_val_epoch(self, runner) -> None:
            if runner.iter == 10:
                raise Kill

    killed = make_runner(custom_hooks=[KillInValidation()])
    with pytest.raises(Kill):
        killed.train()
    resumed = make_runner(resume=True)
    resumed.train()
    assert len(resumed.message_hub.get_scalar("val/acc").data[0]) == 2


def test_resume_without_a_checkpoint_starts_from_the_beginning(make_runner) -> None:
    runner = make_runner(resume=True)
    runner.train()
    assert runner.iter == 10


def test_resume_passes_over_a_broken_checkpoint(make_runner, tmp_path) -> None:
    make_runner().train()
    (tmp_path / "work" / "epoch_2.pth").write_bytes(b"half a file")
    runner = make_runner(resume=True, train_cfg={"by_epoch": True, "max_epochs": 3})
    runner.train()
    assert runner.iter == 15
    log = next((tmp_path / "work").glob(f"{runner.timestamp}/*.log")).read_text()
    assert "epoch_2.pth" in log


def test_load_from_takes_weights_and_nothing_else(make_runner, tmp_path) -> None:
    first = make_runner()
    first.train()
    second = make_runner(load_from=str(tmp_path / "work" / "epoch_2.pth"))
    second.load_or_resume()
    assert_same(dict(first.model.state_dict()), dict(second.model.state_dict()))
    assert second.iter == 0


def test_a_checkpoint_of_a_run_loads_with_torch_alone(make_runner, tmp_path) -> None:
    make_runner(custom_hooks=[dict(EMA)]).train()
    state = torch.load(tmp_path / "work" / "epoch_2.pth", weights_only=True)
    assert {"meta", "state_dict", "optimizer", "param_schedulers", "message_hub"} <= state.keys()
    assert (state["meta"]["epoch"], state["meta"]["iter"]) == (2, 10)


def test_a_runner_without_training_parts_takes_the_weights_of_what_it_resumes(
    make_runner, tmp_path
) -> None:
    trained = make_runner()
    trained.train()
    names = ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler")
    runner = make_runner(resume=True, **dict.fromkeys(names))
    runner.val()
    assert_same(dict(trained.model.state_dict()), dict(runner.model.state_dict()))


def test_a_resume_on_other_data_warns_and_goes_on(make_runner, points, loader_of, tmp_path) -> None:
    """Metainfo may hold arrays; they are saved as tensors, and compared."""
    dataset = points()
    dataset.metainfo = {"palette": np.arange(6).reshape(2, 3), "classes": ("a", "b")}
    make_runner(train_dataloader=loader_of(dataset=dataset)).train()
    same = make_runner(train_dataloader=loader_of(dataset=dataset), resume=True)
    same.load_or_resume()
    other = make_runner(resume=True)
    other.load_or_resume()
    logs = {
        r: next((tmp_path / "work").glob(f"{r.timestamp}/*.log")).read_text() for r in (same, other)
    }
    assert "is this the same dataset?" in logs[other]


class Rates(Hook):
    """Note the rate and the decay that each step used."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[float, float]] = {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        group = runner.optim_wrapper.param_groups[0]
        self.seen[runner.iter] = (group["lr"], group["weight_decay"])


def log_of(runner) -> str:
    return next(Path(runner.work_dir).glob(f"{runner.timestamp}/*.log")).read_text()


def resume_with(make_runner, before: dict[str, Any], after: dict[str, Any]) -> tuple[Any, Any, str]:
    """Rates of a run of 3 epochs that was always like ``after``, and of one that became so."""
    rates = {}
    three = {"train_cfg": {"by_epoch": True, "max_epochs": 3}}
    always = make_runner(**{**three, **after}, custom_hooks=[rates.setdefault("whole", Rates())])
    always.train()
    make_runner(**before).train()
    hooks = [rates.setdefault("resumed", Rates())]
    resumed = make_runner(**{**three, **after}, custom_hooks=hooks, resume=True)
    resumed.train()
    return rates["whole"].seen, rates["resumed"].seen, log_of(resumed)


def optimizer(lr: float = 0.1, weight_decay: float = 0.0) -> dict[str, Any]:
    return {"optimizer": {"type": "SGD", "lr": lr, "momentum": 0.9, "weight_decay": weight_decay}}


STEPS_DOWN = [
    {"type": "MultiStepLR", "milestones": [1, 2], "gamma": 0.5, "by_epoch": True},
    {"type": "LinearLR", "start_factor": 0.5, "end": 12, "by_epoch": False},
]
CHANGES: dict[str, dict[str, Any]] = {
    "another schedule": {"param_scheduler": STEPS_DOWN},
    "a schedule as long as the training": {
        "param_scheduler": {"type": "CosineAnnealingLR", "T_max": 15, "by_epoch": False}
    },
    "another rate under a schedule": {"optim_wrapper": optimizer(lr=0.03)},
    "another decay": {"optim_wrapper": optimizer(weight_decay=0.01)},
    "another rate without a schedule": {
        "param_scheduler": None,
        "optim_wrapper": optimizer(lr=0.5),
    },
    "no schedule any more": {"param_scheduler": None},
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda name: name.replace(" ", "-"))
def test_what_was_changed_in_the_config_holds_from_the_resume_on(make_runner, change) -> None:
    before = {"param_scheduler": None} if "without" in change else {}
    whole, resumed, log = resume_with(make_runner, before, CHANGES[change])
    assert list(resumed) == list(range(10, 15))
    for step, values in resumed.items():
        assert values == pytest.approx(whole[step])
    assert "Since this checkpoint the run has changed" in log


def test_more_epochs_go_on_with_the_same_schedule_and_say_so(make_runner) -> None:
    whole, resumed, log = resume_with(make_runner, {}, {})
    assert resumed == {step: whole[step] for step in resumed}
    assert "train_cfg.max_epochs: 2 -> 3  (followed)" in log


def test_a_resume_of_an_unchanged_run_shows_no_changes(make_runner) -> None:
    make_runner().train()
    resumed = make_runner(resume=True)
    resumed.load_or_resume()
    assert "has changed" not in log_of(resumed)


def test_the_seed_of_the_checkpoint_stays_and_the_log_says_so(make_runner) -> None:
    make_runner().train()
    resumed = make_runner(resume=True, randomness={"seed": 8})
    resumed.load_or_resume()
    assert resumed.seed == 3
    assert "seed: 3 -> 8  (not followed: a run has one seed)" in log_of(resumed)


@pytest.mark.parametrize(
    ("wrapper", "form"),
    [
        ({"optimizer": {"type": "Adam", "lr": 0.1}}, "Adam with 6 parameters"),
        (
            {
                "optimizer": {"type": "SGD", "lr": 0.1},
                "paramwise_cfg": {"custom_keys": {"layers.0": {"lr_mult": 0.1}}},
            },
            "SGD with 1 parameters, SGD with 1 parameters",
        ),
    ],
    ids=["another class", "other groups"],
)
def test_the_state_of_another_optimizer_is_refused(make_runner, wrapper, form) -> None:
    make_runner().train()
    resumed = make_runner(resume=True, optim_wrapper=wrapper)
    with pytest.raises(RunnerConfigError, match=form):
        resumed.train()


def test_a_metric_schedule_goes_on_counting_under_its_new_settings(make_runner) -> None:
    def plateau(patience: int) -> dict[str, Any]:
        return {
            "type": "ReduceOnPlateauLR",
            "monitor": "acc",
            "rule": "greater",
            "threshold": 1.0,
            "threshold_rule": "abs",
            "end": 99,
            "patience": patience,
        }

    make_runner(param_scheduler=plateau(5)).train()
    longer = {"by_epoch": True, "max_epochs": 4}
    second = make_runner(param_scheduler=plateau(7), train_cfg=longer, resume=True)
    second.train()
    (scheduler,) = second.param_schedulers
    # Of four validations the first is the best, and the second was made up for.
    assert (scheduler.patience, scheduler.num_bad_epochs) == (7, 3)


def test_other_keys_of_the_model_are_reported_and_the_rest_is_taken(
    make_runner, classifier
) -> None:
    trained = make_runner()
    trained.train()
    wider = classifier()
    wider.register_buffer("extra", torch.zeros(2))
    resumed = make_runner(model=wider, resume=True)
    resumed.load_or_resume()
    assert_same(dict(trained.model.layers.state_dict()), dict(resumed.model.layers.state_dict()))
    assert "extra" in log_of(resumed)


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ("width", r"layers\.0\.weight: \(8, 4\) in the checkpoint, \(16, 4\) in the model"),
        ("name", r"last\.weight: missing"),
    ],
)
def test_another_model_is_refused_at_a_resume_and_taken_by_load_from(
    make_runner, classifier, change, row
) -> None:
    def another() -> nn.Module:
        """With as many parameters as the classifier."""
        model = classifier()
        if change == "width":
            wide = [nn.Linear(4, 16), nn.BatchNorm1d(16), *model.layers[2:4], nn.Linear(16, 2)]
            model.layers = nn.Sequential(*wide)
        else:
            model.last = nn.Linear(8, 2)
            model.layers[4] = nn.Identity()
            model.layers.register_forward_hook(lambda module, args, out: model.last(out))
        return model

    first = make_runner()
    first.train()
    start = str(Path(first.work_dir) / "epoch_1.pth")
    other = make_runner(model=another(), resume=start)
    with pytest.raises(StrategyError, match=f"another model(.|\n)*{row}(.|\n)*load_from"):
        other.train()
    assert other.iter == 0
    fresh = make_runner(model=another(), load_from=start)
    fresh.train()
    assert (fresh.iter, "the weights do not all fit" in log_of(fresh)) == (10, True)


def test_a_best_checkpoint_goes_on_behind_the_validation_that_it_won(make_runner, tmp_path) -> None:
    """All hooks have seen the metrics by then: nothing is validated, or counted, twice."""

    def hooks() -> dict[str, Any]:
        checkpoint = {"type": "CheckpointHook", "interval": 1, "save_best": "acc"}
        patient = {"type": "EarlyStoppingHook", "monitor": "acc", "patience": 9, "min_delta": 9.0}
        return {"default_hooks": {"checkpoint": checkpoint}, "custom_hooks": [patient]}

    class KeepFirst(Hook):  # a later one may replace it
        priority = "LOWEST"

        def after_val(self, runner) -> None:
            if runner.epoch == 1:
                shutil.copy(tmp_path / "whole" / "best_acc_epoch_1.pth", best)

    best = tmp_path / "best.pth"
    whole = make_runner(**hooks(), work_dir=str(tmp_path / "whole"))
    whole.register_hook(KeepFirst())
    whole.train()
    resumed = make_runner(
        **hooks(), work_dir=str(tmp_path / "resumed"), load_from=str(best), resume=True
    )
    resumed.train()
    expected, found = everything(whole), everything(resumed)
    expected["hooks"]["CheckpointHook"] = found["hooks"]["CheckpointHook"] = None
    assert_same(expected, found)
