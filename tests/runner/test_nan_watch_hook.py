"""Losses and gradients that are not finite: found, explained, kept for a replay."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from drivetrain.model import BaseModel
from drivetrain.optim import OptimWrapper, OptimWrapperDict
from drivetrain.runner import NonFiniteError, ReplayError
from drivetrain.runner.hooks import Hook, NaNWatchHook, replay_step
from drivetrain.structures import LabelData


class Fragile(BaseModel):
    """Divides by zero where a point says so; ``where`` chooses the place."""

    def __init__(self, where: str = "module") -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.3))
        self.breaks = Reciprocal()
        self.last = nn.Linear(4, 2)
        self.where = where

    def forward(self, x, y, mode="tensor"):
        hidden = self.first(x)
        broken = (x[:, 0] > 50).any()
        if broken and self.where == "module":
            hidden = self.breaks(hidden * 0)
        logits = self.last(hidden)
        if mode != "loss":
            return list(zip(logits.argmax(1), y, strict=True))
        loss = nn.functional.cross_entropy(logits, y)
        if broken and self.where == "loss":
            loss = loss / torch.zeros(())
        if broken and self.where == "gradient":  # the root of zero: finite, and infinitely steep
            loss = loss + (logits * 0).sqrt().sum()
        return {"loss": loss, "other": loss.detach() * 0 + math.nan}


class Reciprocal(nn.Module):
    """1 / x."""

    def forward(self, x):
        return 1 / x


@pytest.fixture
def spoiled(points, loader_of):
    """A loader whose sample 13 is far away, in the third batch of an epoch in order."""

    class Spoiled(points):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            if index == 13:
                sample["x"] = sample["x"] + 100
            return sample

    return lambda: loader_of(
        dataset=Spoiled(), sampler={"type": "DefaultSampler", "shuffle": False}
    )


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


class WeightsBefore(Hook):
    """Keep the weights before an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter + 1 == self.iteration:
            self.weights = weights(runner.model)


def test_the_error_names_step_module_samples_and_file(make_runner, spoiled) -> None:
    runner = make_runner(
        model=Fragile(), train_dataloader=spoiled(), custom_hooks=[{"type": "NaNWatchHook"}]
    )
    with pytest.raises(NonFiniteError) as caught:
        runner.train()
    text = str(caught.value)
    assert "iteration 4 (epoch 1, batch 4): the loss is nan" in text
    assert "breaks (Reciprocal): 16 inf of 16 values in its output; its input is finite" in text
    assert "Samples of the batch: 12, 13, 14, 15" in text
    assert Path(caught.value.replay_file).parent.name == "nan_watch"
    assert (caught.value.iteration, caught.value.rank) == (4, 0)
    assert isinstance(caught.value, FloatingPointError)


def test_a_step_that_is_finite_when_it_is_run_again_is_not_said_to_have_been(make_runner) -> None:
    class Whim(Fragile):
        """Breaks once, by a count that no buffer holds."""

        steps = 0

        def forward(self, x, y, mode="tensor"):
            Whim.steps += mode == "loss"
            outputs = super().forward(x, y, mode)
            return {"loss": outputs["loss"] / 0} if Whim.steps == 2 else outputs

    with pytest.raises(NonFiniteError, match=r"batch 2\): the loss is not finite") as caught:
        make_runner(model=Whim(), custom_hooks=[NaNWatchHook()]).train()
    assert "Run again, the step gave finite numbers" in str(caught.value)


def test_weights_are_those_from_before_the_step(make_runner, spoiled) -> None:
    before = WeightsBefore(4)
    runner = make_runner(
        model=Fragile(), train_dataloader=spoiled(), custom_hooks=[NaNWatchHook(), before]
    )
    with pytest.raises(NonFiniteError):
        runner.train()
    for name, value in weights(runner.model).items():
        assert torch.equal(value, before.weights[name]), name


def test_what_an_accelerator_would_do_comes_to_the_same(make_runner, spoiled, monkeypatch) -> None:
    """Windows, snapshot and replay; ``compile`` in the config chooses them on a CPU too."""
    texts, found = [], []
    for windowed in (False, True):
        torch.manual_seed(5)
        before = WeightsBefore(4)
        hook = NaNWatchHook(interval=10)
        runner = make_runner(
            model=Fragile(),
            train_dataloader=spoiled(),
            custom_hooks=[hook, before],
            optim_wrapper={
                "optimizer": {"type": "AdamW", "lr": 0.1},
                "accumulative_counts": 3,
                "check_loss": False,
            },
        )
        if windowed:
            runner.cfg.compile = True
        with pytest.raises(NonFiniteError) as caught:
            runner.train()
        texts.append(str(caught.value).split("Replay")[0])
        for name, value in weights(runner.model).items():
            assert torch.equal(value, before.weights[name]), name
        found.append(torch.load(caught.value.replay_file, weights_only=True))
    assert texts[0] == texts[1]
    assert torch.equal(found[0]["batch"]["x"], found[1]["batch"]["x"])
    assert torch.equal(found[0]["random_state"]["torch"], found[1]["random_state"]["torch"])


def test_one_call_replays_the_step_from_its_file(make_runner, spoiled) -> None:
    runner = make_runner(model=Fragile(), train_dataloader=spoiled(), custom_hooks=[NaNWatchHook()])
    with pytest.raises(NonFiniteError) as caught:
        runner.train()
    model, state = Fragile(), torch.get_rng_state()
    source = replay_step(caught.value.replay_file, model)
    assert (source.module, source.kind) == ("breaks", "Reciprocal")
    assert math.isnan(source.loss)
    assert source.text in str(caught.value).replace("\n  ", "\n")
    assert torch.equal(torch.get_rng_state(), state)
    mended = Fragile(where="nowhere")
    assert replay_step(caught.value.replay_file, mended).is_finite


def test_a_replay_file_loads_with_torch_alone(make_runner, spoiled) -> None:
    runner = make_runner(model=Fragile(), train_dataloader=spoiled(), custom_hooks=[NaNWatchHook()])
    with pytest.raises(NonFiniteError) as caught:
        runner.train()
    state = torch.load(caught.value.replay_file, weights_only=True)
    assert (state["iteration"], state["rank"], state["sample_indices"]) == (4, 0, [12, 13, 14, 15])
    assert state["optimizer"]["param_groups"][0]["momentum"] == 0.9


def test_stop_ends_the_training_orderly(make_runner, spoiled, tmp_path) -> None:
    runner = make_runner(
        model=Fragile(), train_dataloader=spoiled(), custom_hooks=[NaNWatchHook(action="stop")]
    )
    runner.train()
    assert runner.progress.iter == 4
    log = next((tmp_path / "work").rglob("*.log")).read_text()
    assert " - ERROR - " in log
    assert "NaNWatchHook: iteration 4 (epoch 1, batch 4): the loss is nan." in log
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
    saved = torch.load(runner.work_dir + "/epoch_0.pth", weights_only=True)
    assert all(value.isfinite().all() for value in saved["state_dict"].values())


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("loss", "outputs of all modules are finite, the loss made from them is not"),
        ("module", "breaks (Reciprocal)"),
    ],
)
def test_the_place_is_told_apart(make_runner, spoiled, where, text) -> None:
    runner = make_runner(
        model=Fragile(where), train_dataloader=spoiled(), custom_hooks=[NaNWatchHook()]
    )
    with pytest.raises(NonFiniteError) as caught:
        runner.train()
    assert text in str(caught.value)


def test_a_batch_that_is_not_finite_is_named(make_runner, points, loader_of) -> None:
    class Holes(points):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            if index == 6:
                sample["x"][2] = math.nan
            return sample

    loader = loader_of(dataset=Holes(), sampler={"type": "DefaultSampler", "shuffle": False})
    runner = make_runner(train_dataloader=loader, custom_hooks=[NaNWatchHook()])
    with pytest.raises(NonFiniteError, match=r"The batch itself is not finite, at: \['x'\]"):
        runner.train()


def test_gradients_are_watched_where_that_is_asked_for(make_runner, spoiled) -> None:
    before = WeightsBefore(4)
    runner = make_runner(
        model=Fragile("gradient"),
        train_dataloader=spoiled(),
        custom_hooks=[NaNWatchHook(check_gradients=True), before],
    )
    with pytest.raises(NonFiniteError) as caught:
        runner.train()
    text = str(caught.value)
    assert "iteration 4 (epoch 1, batch 4): a gradient is not finite" in text
    assert "arrives at the output of last (Linear)" in text
    assert "Parameters with such gradients: first.0.weight" in text
    for name, value in weights(runner.model).items():
        assert torch.equal(value, before.weights[name]), name
    assert replay_step(caught.value.replay_file, Fragile("gradient")).text in text.replace(
        "\n  ", "\n"
    )


def test_a_step_that_the_loss_scale_skips_is_no_alarm(make_runner) -> None:
    runner = make_runner(
        optim_wrapper={
            "type": "AmpOptimWrapper",
            "dtype": "float16",
            "loss_scale": {"init_scale": 2.0**60},
            "optimizer": {"type": "SGD", "lr": 0.01},
        },
        custom_hooks=[NaNWatchHook(check_gradients=True)],
    )
    runner.train()
    assert runner.optim_wrapper.skipped_steps > 0


def test_precision_is_part_of_the_replay(make_runner, spoiled) -> None:
    wrapper = {
        "type": "AmpOptimWrapper",
        "dtype": "bfloat16",
        "optimizer": {"type": "SGD", "lr": 0.1},
    }
    runner = make_runner(
        model=Fragile(),
        train_dataloader=spoiled(),
        optim_wrapper=wrapper,
        custom_hooks=[NaNWatchHook()],
    )
    with pytest.raises(NonFiniteError) as caught:
        runner.train()
    assert torch.load(caught.value.replay_file, weights_only=True)["precision"] == "bfloat16"
    assert replay_step(caught.value.replay_file, Fragile()).module == "breaks"


def test_a_training_that_is_finite_is_the_same_with_the_hook(make_runner) -> None:
    results = []
    for hooks in ([], [NaNWatchHook(interval=3, check_gradients=True)]):
        runner = make_runner(custom_hooks=hooks)
        runner.train()
        results.append(weights(runner.model))
        assert "train_step" not in vars(runner.model)
        assert "backward" not in vars(runner.optim_wrapper)
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


class Reads(TorchDispatchMode):
    """Counts ``item()`` and its kin: one operation of torch, which waits for an accelerator."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_watching_an_accelerator_reads_nothing_in_a_step(make_runner) -> None:
    counts = []
    for hooks in ([], [NaNWatchHook(interval=20, check_gradients=True)]):
        runner = make_runner(
            custom_hooks=hooks,
            train_cfg={"by_epoch": True, "max_epochs": 8},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "check_loss": False},
        )
        runner.cfg.compile = bool(hooks)  # as on an accelerator: nothing is looked at at once
        with Reads() as reads:
            runner.train()
        counts.append(reads.count)
    assert counts[0] == counts[1]


def test_data_elements_survive_a_replay_file(make_runner, points, loader_of) -> None:
    class Labels(points):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            label = LabelData(metainfo={"name": f"point {index}"}, item=sample["y"])
            return {"x": sample["x"], "label": label}

    class Net(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x, label, mode="tensor"):
            assert label[0].name.startswith("point")
            loss = nn.functional.cross_entropy(
                self.layer(torch.stack(x)), torch.stack([one.item for one in label])
            )
            return {"loss": loss * math.nan}

    runner = make_runner(
        model=Net(),
        train_dataloader=loader_of(dataset=Labels(), collate_fn={"type": "pseudo_collate"}),
        custom_hooks=[NaNWatchHook()],
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
    )
    with pytest.raises(NonFiniteError) as caught:
        runner.train()
    assert math.isnan(replay_step(caught.value.replay_file, Net()).loss)


class Pair(BaseModel):
    """Two parts with an optimizer each; the loss of the second becomes infinite."""

    def __init__(self, strict: bool = False) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 1), nn.Linear(4, 1)
        self.strict = strict

    def forward(self, x, y, mode="tensor"):
        return [self.one(x), self.two(x)]

    def train_step(self, data, optim_wrapper):
        if self.strict and not isinstance(optim_wrapper, OptimWrapperDict):
            raise TypeError("I want my optimizers")
        losses = {}
        for name, part in (("one", self.one), ("two", self.two)):
            with optim_wrapper[name].optim_context(self):
                far = data["x"].max() > 50 and name == "two"
                loss = part(data["x"] * (math.inf if far else 1)).square().mean()
            optim_wrapper[name].update_params(loss)
            losses[f"loss_{name}"] = loss.detach()
        return losses


@pytest.mark.parametrize("strict", [False, True])
def test_several_optimizers_are_watched(make_runner, spoiled, strict) -> None:
    model = Pair(strict)
    wrappers = {
        name: OptimWrapper(torch.optim.SGD(getattr(model, name).parameters(), lr=0.01))
        for name in ("one", "two")
    }
    runner = make_runner(
        model=model,
        train_dataloader=spoiled(),
        optim_wrapper=OptimWrapperDict(**wrappers),
        param_scheduler=None,
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
        custom_hooks=[NaNWatchHook()],
    )
    with pytest.raises(NonFiniteError, match=r"iteration 4 \(epoch 1, batch 4\)") as caught:
        runner.train()
    text = "TypeError: I want my optimizers" if strict else "two (Linear)"
    assert text in str(caught.value)


def test_another_file_is_refused(tmp_path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(ReplayError, match="no file of NaNWatchHook"):
        replay_step(tmp_path / "other.pth", Fragile())


@pytest.mark.parametrize("option", [{"interval": 0}, {"action": "ignore"}], ids=str)
def test_options_that_make_no_sense_are_refused(option) -> None:
    with pytest.raises(ValueError, match="NaNWatchHook"):
        NaNWatchHook(**option)
