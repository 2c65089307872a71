"""The page that walks through one iteration tells what happens, and both ways are the same."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from drivetrain.logging import MessageHub
from drivetrain.model import BaseModel
from drivetrain.optim import LossError, NonFiniteLossError, OptimWrapper, OptimWrapperDict
from drivetrain.runner import EpochBasedTrainLoop, IterBasedTrainLoop, LogProcessor, Runner
from drivetrain.runner.hooks import (
    Hook,
    IterTimerHook,
    LoggerHook,
    ParamSchedulerHook,
    RuntimeInfoHook,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "one-iteration.md"
EPOCHS = {"by_epoch": True, "max_epochs": 2}
PLAIN = {"optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9}}


class Line(BaseModel):
    """Tells its losses in the way that is asked for."""

    def __init__(self, losses: str = "one") -> None:
        super().__init__()
        torch.manual_seed(0)  # all begin alike
        self.layer = nn.Linear(1, 1)
        self.losses = losses

    def forward(self, x, y, mode="tensor"):
        error = self.layer(x) - y
        squared = error.square()
        return {
            "one": lambda: {"loss": squared.mean()},
            "several": lambda: {"loss_a": squared, "loss_b": [error.abs(), squared], "acc": error},
            "counted": lambda: {"loss": squared.mean(), "num_samples": len(x)},
            "detached": lambda: {"loss": squared.detach().mean()},
            "infinite": lambda: {"loss": squared.mean() / 0},
        }[self.losses]()


class OwnStep(Line):
    """The step as it is written, called by what is a method of the user's."""

    def train_step(self, data, optim_wrapper):
        return super().train_step(data, optim_wrapper)


class OwnEpochs(EpochBasedTrainLoop):
    def run_iter(self, idx, data_batch):
        super().run_iter(idx, data_batch)


class OwnIters(IterBasedTrainLoop):
    def run_iter(self, data_batch):
        super().run_iter(data_batch)


class Calls(Hook):
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append((runner.iter, batch_idx, [x.tolist() for x in data_batch]))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        values = {name: value.item() for name, value in outputs.items()}
        self.seen.append((runner.iter, batch_idx, values, runner.progress.iter))


def make(folder, model=None, loop=None, by_epoch=True, **options) -> tuple[Runner, Calls]:
    x = torch.arange(10.0)[:, None] / 10
    calls = Calls()
    cfg = EPOCHS if by_epoch else {"by_epoch": False, "max_iters": 7}
    runner = Runner(
        model or Line(),
        str(folder),
        train_dataloader=DataLoader(TensorDataset(x, 2 * x + 1), batch_size=3),
        train_cfg=cfg,
        custom_hooks=[calls],
        **{"optim_wrapper": PLAIN, **options},
    )
    if loop is not None:
        limits = {key: value for key, value in cfg.items() if key != "by_epoch"}
        runner._train_loop = loop(runner, runner._train_dataloader, **limits)
    return runner, calls


def walk_of(runner: Runner) -> list[tuple[str, str]]:
    """Name and file of the functions of ours between the optimizer's first step and the test."""
    walk: list[tuple[str, str]] = []

    def look(frame, event, arg) -> None:
        code = frame.f_code
        if walk or event != "call" or code is not torch.optim.SGD.step.__wrapped__.__code__:
            return
        while (frame := frame.f_back) is not None:
            path = Path(frame.f_code.co_filename)
            if "drivetrain" in path.parts and "torch" not in path.parts:
                walk.append((frame.f_code.co_name, f"{path.parent.name}/{path.name}"))

    sys.setprofile(look)
    try:
        runner.train()
    finally:
        sys.setprofile(None)
    return walk[::-1]


def tables() -> list[list[tuple[str, str]]]:
    parts = PAGE.read_text().split("Where nothing is your own")
    return [
        re.findall(r"^\| \d \| `\w+\.(\w+)` \| `([\w/.]+)`", part, re.MULTILINE) for part in parts
    ]


def test_the_page_names_the_functions_between_train_and_the_optimizer(tmp_path) -> None:
    written_out, quick = tables()
    assert walk_of(make(tmp_path)[0]) == written_out[:3] + quick
    assert len(written_out) < 10


def test_the_page_names_them_where_something_is_the_users_own(tmp_path) -> None:
    written_out, _ = tables()
    runner, _ = make(tmp_path, model=OwnStep(), loop=OwnEpochs)
    assert [
        step for step in walk_of(runner) if step[1] != Path(__file__).parent.name
    ] == written_out


@pytest.mark.parametrize("losses", ["one", "several", "counted"])
@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize(
    "optim_wrapper",
    [PLAIN, {**PLAIN, "clip_grad": {"max_norm": 0.1}}, {**PLAIN, "accumulative_counts": 3}],
    ids=["plain", "clipped", "accumulated"],
)
def test_both_ways_are_the_same_to_the_last_bit(tmp_path, losses, by_epoch, optim_wrapper) -> None:
    ends = []
    for kind, loop in ((Line, None), (OwnStep, OwnEpochs if by_epoch else OwnIters)):
        runner, calls = make(
            tmp_path / kind.__name__, kind(losses), loop, by_epoch, optim_wrapper=optim_wrapper
        )
        runner.train()
        scalars = {
            name: history.data[0].tolist()
            for name, history in runner.message_hub.log_scalars.items()
            if "time" not in name
        }
        weights = [param.tolist() for param in runner.model.parameters()]
        ends.append((calls.seen, weights, scalars, runner.optim_wrapper.inner_count))
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("losses", "error"), [("detached", LossError), ("infinite", NonFiniteLossError)]
)
@pytest.mark.parametrize("kind", [Line, OwnStep])
def test_a_loss_that_cannot_be_used_is_the_same_error(tmp_path, losses, error, kind) -> None:
    with pytest.raises(error):
        make(tmp_path, kind(losses))[0].train()


def test_what_is_replaced_on_an_object_is_called(tmp_path) -> None:
    runner, _ = make(tmp_path)
    counts = dict.fromkeys(("step", "train_step", "call_hook"), 0)

    def counted(owner, name):
        method = getattr(owner, name)

        def call(*args, **kwargs):
            counts[name] += 1
            return method(*args, **kwargs)

        setattr(owner, name, call)

    wrapper = runner.optim_wrapper = runner.build_optim_wrapper(PLAIN)
    for owner, name in ((wrapper, "step"), (runner.model, "train_step"), (runner, "call_hook")):
        counted(owner, name)
    runner.train()
    assert counts["step"] == counts["train_step"] == 8
    assert counts["call_hook"] > 16


def test_a_step_replaced_in_the_middle_of_an_epoch_is_called_from_then_on(tmp_path) -> None:
    taken = []

    class Replace(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 1:
                own = runner.model.train_step
                runner.model.train_step = lambda data, optim_wrapper: (
                    taken.append(runner.iter) or own(data, optim_wrapper)
                )

    runner, _ = make(tmp_path)
    runner.register_hook(Replace())
    runner.train()
    assert taken == list(range(2, 8))


def test_a_subclass_of_a_wrapper_keeps_its_own_step(tmp_path) -> None:
    class Twice(OptimWrapper):
        steps = 0

        def step(self, **kwargs):
            Twice.steps += 1
            super().step(**kwargs)

    runner, _ = make(tmp_path)
    runner.optim_wrapper = Twice(torch.optim.SGD(runner.model.parameters(), lr=0.1))
    runner.train()
    assert Twice.steps == 8


class Doubling(nn.Module):
    """A preprocessor of somebody's own, on no device that it would tell."""

    def forward(self, data, training=False):
        return [2 * part for part in data]


@pytest.mark.parametrize("kind", [Line, OwnStep])
def test_a_preprocessor_of_ones_own_is_called_also_when_it_comes_later(tmp_path, kind) -> None:
    class Swap(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 6:
                runner.model.data_preprocessor = Doubling()

    runner, calls = make(tmp_path, kind())
    runner.model.data_preprocessor = Doubling()
    runner.train()
    doubled = [entry[2]["loss"] for entry in calls.seen if len(entry) == 4]
    runner, calls = make(tmp_path / "later", kind())
    runner.register_hook(Swap())
    runner.train()
    later = [entry[2]["loss"] for entry in calls.seen if len(entry) == 4]
    runner, calls = make(tmp_path / "never", kind())
    runner.train()
    never = [entry[2]["loss"] for entry in calls.seen if len(entry) == 4]
    assert later[:6] == never[:6]
    assert later[6] != never[6]
    assert doubled[0] == pytest.approx(make_first_loss(2))


def make_first_loss(factor: float) -> float:
    """The loss of the first batch, its inputs and targets multiplied."""
    x = torch.arange(10.0)[:, None] / 10
    with torch.no_grad():
        return Line()(factor * x[:3], factor * (2 * x + 1)[:3])["loss"].item()


def counting(owner: Any, name: str) -> tuple[Any, list[str]]:
    """A patch of a method that notes its calls."""
    method, calls = getattr(owner, name), []

    def call(self, *args, **kwargs):
        calls.append(name)
        return method(self, *args, **kwargs)

    return patch.object(owner, name, call), calls


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (RuntimeInfoHook, "before_train_iter"),
        (RuntimeInfoHook, "after_train_iter"),
        (IterTimerHook, "after_train_iter"),
        (LoggerHook, "after_train_iter"),
        (ParamSchedulerHook, "after_train_iter"),
        (EpochBasedTrainLoop, "run_iter"),
        (LogProcessor, "get_log_after_iter"),
    ],
)
def test_a_method_that_is_replaced_on_its_class_is_called(tmp_path, owner, name) -> None:
    runner, _ = make(tmp_path, default_hooks={"logger": {"type": "LoggerHook", "interval": 1}})
    replaced, calls = counting(owner, name)
    with replaced:
        runner.train()
    assert len(calls) == 8


@pytest.mark.parametrize("owner", ["class", "object"])
def test_a_message_hub_that_is_listened_to_is_told_every_number(tmp_path, owner) -> None:
    runner, _ = make(tmp_path)
    if owner == "class":
        replaced, calls = counting(MessageHub, "update_scalar")
    else:
        told = Mock(wraps=runner.message_hub.update_scalar)
        replaced, calls = patch.object(runner.message_hub, "update_scalar", told), []
    with replaced:
        runner.train()
    assert (len(calls) or told.call_count) == 8 * len(("lr", "loss", "time", "data_time"))


def test_parts_that_are_replaced_in_the_middle_of_an_epoch_are_used_from_then_on(tmp_path) -> None:
    class Loud(LogProcessor):
        def get_log_after_iter(self, runner, batch_idx, mode):
            record, line = super().get_log_after_iter(runner, batch_idx, mode)
            return record, f"loud {line}"

    class Replace(Hook):
        priority = "LOWEST"

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 1:
                runner.message_hub = MessageHub.get_instance("another")
            if runner.iter == 2:
                runner.log_processor = Loud()
            if runner.iter == 3:
                optimizer = torch.optim.SGD(runner.model.parameters(), lr=0.5)
                runner.optim_wrapper = OptimWrapperDict(one=OptimWrapper(optimizer))
                runner.model.train_step = lambda data, optim_wrapper: {}

    runner, _ = make(tmp_path, default_hooks={"logger": {"type": "LoggerHook", "interval": 1}})
    first = runner.message_hub
    runner.register_hook(Replace())
    runner.train()
    assert len(first.get_scalar("train/lr").data[0]) == 2
    assert len(runner.message_hub.get_scalar("train/lr").data[0]) == 2
    assert runner.message_hub.get_scalar("train/one.lr").data[0].tolist() == [0.5] * 4
    text = Path(runner.logger.log_file).read_text()
    assert text.count("Epoch(train)") == 8
    assert text.count("loud Epoch(train)") == 5
