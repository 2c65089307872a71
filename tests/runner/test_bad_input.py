"""Classic mistakes: each gives an error that says what and where, or does what is stated here."""

from __future__ import annotations

import math
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from drivetrain.evaluator import BaseMetric
from drivetrain.runner.hooks import Hook


def raises(error: type[BaseException], text: str, **changes):
    return changes, error, text


class Boom(Hook):
    """Raises in the middle of a training."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        raise LookupError("boom")


class Plain(nn.Module):
    """A model of torch alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)


def hooks(**checkpoint) -> dict:
    return {"checkpoint": {"type": "CheckpointHook", **checkpoint}}


def train(**cfg) -> dict:
    return {"by_epoch": True, "max_epochs": 1, **cfg}


SGD = {"type": "SGD", "lr": 0.1}

CASES = {
    # a config that contradicts itself
    "type and by_epoch": raises(
        ValueError, "give type or by_epoch, not both", train_cfg=train(type="EpochBasedTrainLoop")
    ),
    "neither type nor by_epoch": raises(
        ValueError, "train_cfg: give type", train_cfg={"max_epochs": 1}
    ),
    "epochs and iterations": raises(
        TypeError, "takes no argument 'max_iters'", train_cfg=train(max_iters=3)
    ),
    "iterations for epochs": raises(
        TypeError, "needs 'max_epochs'", train_cfg={"by_epoch": True, "max_iters": 3}
    ),
    "a loader without an evaluator": raises(
        ValueError, r"belong together(.|\n)*Missing: val_evaluator", val_evaluator=None
    ),
    "schedules without an optimizer": raises(
        ValueError,
        "param_scheduler needs an optim_wrapper",
        train_dataloader=None,
        train_cfg=None,
        optim_wrapper=None,
    ),
    "two checkpoints to go on from": raises(
        ValueError, "name two checkpoints", resume="a.pth", load_from="b.pth"
    ),
    "begin by iteration and by epoch": raises(
        ValueError,
        "begin_iter or begin_epoch, not both",
        custom_hooks=[{"type": "EMAHook", "begin_iter": 1, "begin_epoch": 1}],
    ),
    # numbers that make no sense
    "no work dir": raises(TypeError, "work_dir is the path of a folder, got None", work_dir=None),
    "a list for a loop": raises(
        TypeError, r"val_cfg is a loop or a config of one, got \[\]", val_cfg=[]
    ),
    "the class of a metric": raises(
        TypeError,
        "a metric is a BaseMetric or a node of one.* got ABCMeta",
        val_evaluator=[BaseMetric],
    ),
    "a text for a number of epochs": raises(
        ValueError,
        "max_epochs is a whole number from 0 on, got 'three'",
        train_cfg=train(max_epochs="three"),
    ),
    "endless iterations": raises(
        ValueError,
        "max_iters is a whole number from 0 on, got inf",
        train_cfg={"by_epoch": False, "max_iters": float("inf")},
    ),
    "negative epochs": raises(ValueError, "whole number from 0 on", train_cfg=train(max_epochs=-1)),
    "epochs as text": raises(ValueError, "from 0 on, got '3'", train_cfg=train(max_epochs="3")),
    "val_interval 0": raises(
        ValueError, "val_interval is at least 1, got 0", train_cfg=train(val_interval=0)
    ),
    "intervals that are no pairs": raises(
        ValueError, "pairs of a milestone", train_cfg=train(dynamic_intervals=[3])
    ),
    "a seed as text": raises(
        TypeError, "seed of a run is a whole number", randomness={"seed": "x"}
    ),
    # names
    "a mistyped key of randomness": raises(
        Exception, r"unknown key 'sed'(.|\n)*'seed'", randomness={"sed": 1}
    ),
    "a mistyped optimizer": raises(
        KeyError,
        r"optim_wrapper.optimizer: no 'Sdg'(.|\n)*'SGD'",
        optim_wrapper={"optimizer": {"type": "Sdg", "lr": 1}},
    ),
    "a mistyped argument of an optimizer": raises(
        TypeError,
        "SGD takes no argument 'learning_rate'",
        optim_wrapper={"optimizer": {"type": "SGD", "learning_rate": 1}},
    ),
    "a mistyped option of clipping": raises(
        ValueError,
        "by norm needs 'max_norm'",
        optim_wrapper={"optimizer": SGD, "clip_grad": {"max_nrm": 1}},
    ),
    "an unknown average": raises(
        KeyError,
        "EMAHook.ema_type: no 'Foo'",
        custom_hooks=[{"type": "EMAHook", "ema_type": "Foo"}],
    ),
    "an unknown launcher": raises(ValueError, "unknown launcher 'torchrun'", launcher="torchrun"),
    "an unknown level of the log": raises(
        ValueError, "log_level: no level 'LOUD'", log_level="LOUD"
    ),
    "an unknown priority": raises(
        ValueError,
        r"custom_hooks\.1\.priority: no hook priority 'TOP'",
        custom_hooks=[Hook(), {"type": "EMAHook", "priority": "TOP"}],
    ),
    "a priority out of range": raises(
        ValueError,
        r"default_hooks\.ema\.priority: .* between 0 and 100, got 101",
        default_hooks={"ema": {"type": "EMAHook", "priority": 101}},
    ),
    "a priority of another kind": raises(
        TypeError,
        r"custom_hooks\.0\.priority: .* got \[\]",
        custom_hooks=[{"type": "EMAHook", "priority": []}],
    ),
    # things of the wrong kind
    "default_hooks as a list": raises(
        ValueError, "default_hooks is a dict", default_hooks=[{"type": "EMAHook"}]
    ),
    "custom_hooks as a dict": raises(
        ValueError, "custom_hooks is a list", custom_hooks={"type": "EMAHook"}
    ),
    "a hook that is none": raises(TypeError, "a hook is a Hook", custom_hooks=[object()]),
    "an optimizer for a wrapper": raises(
        TypeError,
        "must be an optimizer wrapper",
        optim_wrapper=torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1),
    ),
    "a model of torch alone": raises(RuntimeError, r"Plain has no train_step\(\)", model=Plain()),
    "resume as a number": raises(ValueError, "resume is True, False or the path", resume=7),
    # a metric that does not exist
    "save_best of an unknown metric": raises(
        KeyError,
        r"no metric 'accuracy'. Did you mean 'acc'\?",
        default_hooks=hooks(save_best="accuracy", rule="greater"),
    ),
    "save_best without a rule": raises(
        ValueError, "give rule='greater' or rule='less'", default_hooks=hooks(save_best="nope")
    ),
    "an unknown rule": raises(
        ValueError,
        "'greater', 'less' or None, got 'higher'",
        default_hooks=hooks(save_best="acc", rule="higher"),
    ),
    "a watched metric that is missing": raises(
        KeyError,
        "reports no metric 'accuracy'",
        custom_hooks=[{"type": "EarlyStoppingHook", "monitor": "accuracy", "strict": True}],
    ),
    # a hook that raises
    "a hook that raises": raises(LookupError, "boom", custom_hooks=[Boom()]),
    # files that are not there
    "a checkpoint that is not there": raises(
        FileNotFoundError, "no folder /nonexistent", load_from="/nonexistent/x.pth"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_mistake_gives_a_clear_error(make_runner, case) -> None:
    changes, error, text = case
    with pytest.raises(error, match=text):
        make_runner(**changes).train()


def empty(points):
    return points(length=0)


@pytest.mark.parametrize("stage", ["train", "val"])
def test_a_loader_without_batches_is_refused_before_training(
    make_runner, loader_of, points, stage
) -> None:
    order = {"type": "DefaultSampler", "shuffle": False}
    loader = loader_of(dataset=empty(points), sampler=order)
    with pytest.raises(ValueError, match=f"{stage}_dataloader: .*has 0 samples"):
        make_runner(**{f"{stage}_dataloader": loader}).train()


def test_a_batch_larger_than_the_data_is_explained_where_it_would_be_dropped(
    make_runner, loader_of
) -> None:
    loader = loader_of(batch_size=50, drop_last=True)
    with pytest.raises(ValueError, match="Use a smaller batch_size, or drop_last=False"):
        make_runner(train_dataloader=loader).train()


def test_zero_epochs_train_nothing_and_save_nothing(make_runner, tmp_path) -> None:
    steps = {"type": "MultiStepLR", "milestones": [1]}  # whose end is that of the run
    runner = make_runner(train_cfg=train(max_epochs=0), param_scheduler=steps)
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    model = runner.train()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not list((tmp_path / "work").glob("*.pth"))


@pytest.mark.parametrize("resume", [False, True], ids=["load", "resume"])
def test_a_file_that_is_no_checkpoint_is_named(make_runner, tmp_path, resume) -> None:
    path = tmp_path / "garbage.pth"
    path.write_bytes(b"no checkpoint at all" * 50)
    with pytest.raises(RuntimeError, match=r"garbage\.pth: .*no checkpoint"):
        make_runner(load_from=str(path), resume=resume).train()


def test_a_file_that_would_run_code_does_not(make_runner, tmp_path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"state_dict": Evil()}))
    for name in ("evil.pth", "old.pth"):
        with pytest.raises(Exception, match=name):
            make_runner(load_from=str(tmp_path / name)).train()
    assert not (tmp_path / "made").exists()


def test_weights_that_do_not_fit_are_reported_and_the_model_keeps_its_own(
    make_runner, tmp_path
) -> None:
    other = {"foo": torch.zeros(1), "layers.0.bias": torch.full((8,), 7.0)}
    torch.save({"state_dict": other}, tmp_path / "other.pth")
    runner = make_runner(load_from=str(tmp_path / "other.pth"), train_cfg=train(max_epochs=0))
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.train()
    after = runner.model.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["layers.0.bias"]
    log = next((tmp_path / "work").rglob("*.log")).read_text()
    assert "the weights do not all fit" in log
    assert "layers.0.weight" in log
    assert "foo" in log


def test_a_checkpoint_of_another_model_is_refused(make_runner, tmp_path) -> None:
    torch.save({"state_dict": {"foo": torch.zeros(1)}}, tmp_path / "other.pth")
    runner = make_runner(load_from=str(tmp_path / "other.pth"))
    with pytest.raises(RuntimeError, match=r"of another model(.|\n)*It has: +foo(.|\n)*layers"):
        runner.train()


def test_a_work_dir_that_cannot_be_made_is_named(make_runner, tmp_path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none/here")):
        with pytest.raises(OSError, match=r"work_dir '.*' cannot be used"):
            make_runner(work_dir=str(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_work_dir_without_permission_is_named(make_runner, tmp_path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OSError, match=r"work_dir '.*locked/run' cannot be used: Permission denied"):
        make_runner(work_dir=str(tmp_path / "locked" / "run"))


@pytest.mark.parametrize("what", ["train", "val", "test"])
def test_a_stage_without_its_parts_is_named(make_runner, what) -> None:
    names = [f"{what}_dataloader", f"{what}_cfg"]
    names += ["optim_wrapper", "param_scheduler"] if what == "train" else [f"{what}_evaluator"]
    runner = make_runner(**dict.fromkeys(names))
    with pytest.raises(RuntimeError, match=rf"{what}\(\) needs {what}_dataloader"):
        getattr(runner, what)()


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (None, "must return a dict of losses, got NoneType"),
        ({"acc": torch.ones(())}, "a name must contain 'loss', got 'acc'"),
        ({"loss": 3.0}, "loss"),
        ({"loss": torch.tensor(1.0)}, "graph|grad"),
    ],
    ids=["nothing", "no loss", "a number", "no graph"],
)
def test_a_model_that_returns_no_loss_is_named(make_runner, classifier, returned, text) -> None:
    class Careless(classifier):
        def forward(self, x, y, mode="tensor"):
            return returned if mode == "loss" else super().forward(x, y, mode)

    with pytest.raises(Exception, match=text):
        make_runner(model=Careless()).train()


def test_a_loss_that_is_no_number_stops_a_training_on_a_cpu(make_runner, classifier) -> None:
    class Diverging(classifier):
        def forward(self, x, y, mode="tensor"):
            outputs = super().forward(x, y, mode)
            return {"loss": outputs["loss"] * math.inf} if mode == "loss" else outputs

    with pytest.raises(FloatingPointError, match="NaNWatchHook"):
        make_runner(model=Diverging()).train()


def test_a_metric_that_returns_no_dict_is_named(make_runner, accuracy) -> None:
    class Careless(accuracy):
        def compute_metrics(self, results):
            return 1.0

    with pytest.raises(TypeError, match=r"Careless\.compute_metrics must return a mapping"):
        make_runner(val_evaluator={"type": Careless}).train()


def test_a_path_given_to_resume_is_gone_on_from(make_runner, tmp_path) -> None:
    make_runner(train_cfg=train()).train()
    runner = make_runner(
        resume=str(tmp_path / "work" / "epoch_1.pth"), work_dir=str(tmp_path / "b")
    )
    runner.load_or_resume()
    assert runner.iter == 5
