"""EMAHook: what is averaged, what is evaluated, what is saved."""

from __future__ import annotations

import pytest
import torch

from drivetrain.runner import RunnerConfigError
from drivetrain.runner.hooks import EMAHook, Hook


class Weights(Hook):
    """Keep a copy of the model's first weight after each iteration and during each validation."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.trained: list[torch.Tensor] = []
        self.validated: list[torch.Tensor] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.trained.append(runner.model.layers[0].weight.detach().clone())

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.validated.append(runner.model.layers[0].weight.detach().clone())


def test_validation_sees_the_average_and_training_goes_on_from_the_trained_weights(
    make_runner,
) -> None:
    """With momentum m, average <- (1 - m) * average + m * weights after each iteration."""
    hook = Weights()
    ema = EMAHook(momentum=0.5)
    runner = make_runner(train_cfg={"by_epoch": True, "max_epochs": 1}, custom_hooks=[ema, hook])
    runner.train()
    average = hook.trained[0]
    for weight in hook.trained[1:]:
        average = 0.5 * average + 0.5 * weight
    torch.testing.assert_close(hook.validated[0], average)
    assert torch.equal(runner.model.layers[0].weight, hook.trained[-1])


def test_a_checkpoint_holds_the_average_where_one_looks_for_weights(make_runner, tmp_path) -> None:
    hook = Weights()
    runner = make_runner(custom_hooks=[EMAHook(momentum=0.5), hook])
    runner.train()
    saved = torch.load(tmp_path / "work" / "epoch_2.pth", weights_only=True)
    name = "layers.0.weight"
    assert torch.equal(saved["state_dict"][name], hook.validated[-1])
    assert torch.equal(saved["ema_state_dict"][f"module.{name}"], hook.trained[-1])
    assert torch.equal(runner.model.state_dict()[name], hook.trained[-1])


def test_before_its_start_the_average_is_the_model(make_runner) -> None:
    hook = Weights()
    make_runner(custom_hooks=[EMAHook(momentum=0.1, begin_iter=3), hook]).train()
    assert not torch.equal(hook.validated[0], hook.trained[4])
    late = Weights()
    make_runner(custom_hooks=[EMAHook(momentum=0.1, begin_iter=10), late]).train()
    assert torch.equal(late.validated[0], late.trained[4])


WRONG = {
    "both starts": {"begin_iter": 1, "begin_epoch": 1},
    "before the beginning": {"begin_iter": -1},
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG)
def test_a_start_that_makes_no_sense_is_refused(options) -> None:
    with pytest.raises(ValueError, match="begin_iter"):
        EMAHook(**options)


@pytest.mark.parametrize("options", [{"begin_iter": 11}, {"begin_epoch": 3}], ids=str)
def test_an_average_that_would_never_start_is_refused(make_runner, options) -> None:
    with pytest.raises(RunnerConfigError, match="lies after the last of"):
        make_runner(custom_hooks=[EMAHook(**options)]).train()


def test_a_validation_after_training_still_sees_the_average(make_runner) -> None:
    hook = Weights()
    runner = make_runner(custom_hooks=[EMAHook(momentum=0.5), hook])
    runner.train()
    last = hook.validated[-1]
    runner.val()
    assert torch.equal(hook.validated[-1], last)


def test_weights_may_be_loaded_before_anything_runs(make_runner, tmp_path) -> None:
    make_runner(custom_hooks=[EMAHook(momentum=0.5)]).train()
    runner = make_runner(custom_hooks=[EMAHook(momentum=0.5)])
    checkpoint = runner.load_checkpoint(str(tmp_path / "work" / "epoch_2.pth"))
    runner.val()
    loaded, name = checkpoint["state_dict"], "layers.0.weight"
    assert torch.equal(runner.model.state_dict()[name], loaded[name])
