"""Other ways to compute the same: recomputed activations, fused and folded normalizations."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from drivetrain.model import (
    ModelArgumentError,
    fuse_conv_bn,
    turn_on_activation_checkpointing,
    turn_on_efficient_conv_bn_eval,
)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.runs = 0

    def forward(self, x, scale=1.0):
        self.runs += 1
        return x + scale * self.norm(self.conv(x)).relu()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.block = Block()
        self.stem = nn.Conv2d(2, 2, 1, bias=False)
        self.other = nn.BatchNorm2d(2)
        self.shared = nn.Conv2d(2, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        for norm in (self.block.norm, self.other, self.norm):
            nn.init.uniform_(norm.running_mean, -1, 1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.uniform_(norm.bias, -1, 1)

    def forward(self, x, mode="tensor"):
        if mode != "tensor":
            return x
        x = self.other(self.stem(self.block(x)))
        y = self.shared(x)
        return self.norm(y) + y  # the output of `shared` is used twice: no pair


def batch() -> torch.Tensor:
    return torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(1))


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(batch()).pow(2).sum().backward()
    return {name: param.grad.clone() for name, param in model.named_parameters()}


def test_checkpointed_modules_run_twice_and_give_the_same_gradients() -> None:
    plain = Net()
    model = copy.deepcopy(plain)
    turn_on_activation_checkpointing(model, "block")
    for name, gradient in gradients(plain).items():
        torch.testing.assert_close(gradients(model)[name], gradient)
    model.block.runs = 0
    gradients(model)
    assert model.block.runs == 2
    assert isinstance(model.block, Block)
    assert list(model.state_dict()) == list(plain.state_dict())


def test_without_gradients_nothing_runs_twice() -> None:
    model = Net()
    turn_on_activation_checkpointing(model, ["block"])
    with torch.no_grad():
        model(batch())
    assert model.block.runs == 1


def test_a_copy_of_a_checkpointed_module_runs_itself() -> None:
    model = Net()
    turn_on_activation_checkpointing(model, "block")
    twin = copy.deepcopy(model)
    twin(batch())
    assert (model.block.runs, twin.block.runs) == (0, 1)


def test_an_unknown_module_changes_nothing() -> None:
    model = Net()
    with pytest.raises(ModelArgumentError, match=r"no submodule 'blok'\. Did you mean 'block'"):
        turn_on_activation_checkpointing(model, ["block", "blok"])
    assert type(model.block) is Block


def test_fused_pairs_give_the_same_results() -> None:
    model = Net().eval()
    expected = model(batch())
    fuse_conv_bn(model)
    torch.testing.assert_close(model(batch()), expected)
    assert isinstance(model.block.norm, nn.Identity)
    assert isinstance(model.other, nn.Identity)
    assert isinstance(model.norm, nn.BatchNorm2d)


def test_parts_of_a_model_that_cannot_be_traced_are_fused() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x):  # a decision about values: no trace gets past it
            return self.net(x) if x.sum() < 1e9 else x

    model = Outer().eval()
    expected = model(batch())
    fuse_conv_bn(model)
    torch.testing.assert_close(model(batch()), expected)
    assert isinstance(model.net.block.norm, nn.Identity)


def test_a_training_model_is_not_fused() -> None:
    with pytest.raises(ModelArgumentError, match=r"call model.eval\(\) first"):
        fuse_conv_bn(Net())


@pytest.mark.parametrize("training", [False, True], ids=["frozen statistics", "training"])
def test_folded_normalizations_give_the_same_results_and_gradients(training) -> None:
    plain = Net().train(training)
    model = copy.deepcopy(plain)
    assert turn_on_efficient_conv_bn_eval(model) == 2
    torch.testing.assert_close(model(batch()), plain(batch()))
    expected = gradients(plain)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4)
    assert list(model.state_dict()) == list(plain.state_dict())


def test_only_the_named_parts_are_folded_and_once() -> None:
    model = Net()
    assert turn_on_efficient_conv_bn_eval(model, ["block"]) == 1
    assert turn_on_efficient_conv_bn_eval(model) == 1
    with pytest.raises(ModelArgumentError, match="no submodule 'bloc'"):
        turn_on_efficient_conv_bn_eval(model, "bloc")


def test_a_copy_of_a_folded_model_folds_its_own_normalization() -> None:
    model = Net().eval()
    turn_on_efficient_conv_bn_eval(model)
    twin = copy.deepcopy(model)
    nn.init.constant_(model.other.weight, 100.0)
    assert not torch.allclose(twin(batch()), model(batch()))
