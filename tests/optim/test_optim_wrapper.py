from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from drivetrain.logging import MessageHub
from drivetrain.optim import (
    AmpOptimWrapper,
    LossError,
    OptimArgumentError,
    OptimTypeError,
    OptimWrapper,
)


def loss_of(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return model(batch).pow(2).mean()


def test_an_update_is_backward_step_and_zero_grad(model) -> None:
    twin = copy.deepcopy(model)
    batch = torch.randn(5, 3)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)

    wrapper.update_params(loss_of(model, batch))
    loss_of(twin, batch).backward()
    optimizer.step()

    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.grad is None
    assert wrapper.inner_count == 1


def test_the_parts_of_an_update_can_be_called_one_by_one(model) -> None:
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = model[0].weight.clone()
    wrapper.backward(loss_of(model, torch.randn(5, 3)))
    assert torch.equal(model[0].weight, before)
    wrapper.step()
    assert not torch.equal(model[0].weight, before)
    wrapper.zero_grad(set_to_none=False)
    assert model[0].weight.grad.abs().sum() == 0


def test_arguments_reach_the_optimizer(model) -> None:
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    wrapper.update_params(loss_of(model, torch.randn(5, 3)), zero_kwargs={"set_to_none": False})
    assert model[0].weight.grad.abs().sum() == 0

    calls = []
    wrapper.update_params(
        loss_of(model, torch.randn(5, 3)), step_kwargs={"closure": lambda: calls.append(1)}
    )
    assert calls == [1]


def test_learning_rate_and_momentum_are_listed_by_group(sgd) -> None:
    wrapper = OptimWrapper(sgd(0.1, 0.2))
    assert wrapper.get_lr() == {"lr": [0.1, 0.2]}
    assert wrapper.get_momentum() == {"momentum": [0, 0]}


def test_the_momentum_of_adam_is_its_first_beta(model) -> None:
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), betas=(0.8, 0.9)))
    assert wrapper.get_momentum() == {"momentum": [0.8]}


def test_an_optimizer_without_momentum_counts_as_zero(model) -> None:
    assert OptimWrapper(torch.optim.Adagrad(model.parameters())).get_momentum() == {"momentum": [0]}


def test_base_settings_are_reported_scheduled_and_saved(sgd) -> None:
    wrapper = OptimWrapper(sgd(0.1, 0.2))
    wrapper.base_param_settings = {"lr": 1.0}
    assert wrapper.get_lr() == {"base_lr": [1.0], "lr": [0.1, 0.2]}
    assert len(wrapper.param_groups) == 3

    state = wrapper.state_dict()
    wrapper.base_param_settings["lr"] = 7.0
    wrapper.load_state_dict(state)
    assert wrapper.get_lr()["base_lr"] == [1.0]
    assert "base_param_settings" in state  # loading leaves its argument as it was


def test_the_state_travels_through_a_file_of_plain_data(model) -> None:
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=0.1))
    wrapper.update_params(loss_of(model, torch.randn(5, 3)))
    file = io.BytesIO()
    torch.save(wrapper.state_dict(), file)
    file.seek(0)

    other = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=0.5))
    other.load_state_dict(torch.load(file, weights_only=True))

    assert other.get_lr() == {"lr": [0.1]}
    assert other.optimizer.state[model[0].weight]["step"] == 1


def test_clipping_by_norm_limits_the_gradient_and_logs_the_norm_before_it() -> None:
    param = nn.Parameter(torch.zeros(2))
    wrapper = OptimWrapper(torch.optim.SGD([param], lr=1.0), clip_grad={"max_norm": 1.0})
    wrapper.update_params((param * torch.tensor([3.0, 4.0])).sum())

    assert torch.allclose(param, -torch.tensor([0.6, 0.8]), atol=1e-5)
    hub = MessageHub.get_current_instance()
    assert hub.get_scalar("train/grad_norm").current() == pytest.approx(5.0)


def test_clipping_by_value_needs_no_type_and_logs_the_norm_too() -> None:
    param = nn.Parameter(torch.zeros(2))
    wrapper = OptimWrapper(torch.optim.SGD([param], lr=1.0), clip_grad={"clip_value": 0.5})
    wrapper.update_params((param * torch.tensor([3.0, 0.25])).sum())

    assert torch.equal(param, -torch.tensor([0.5, 0.25]))
    hub = MessageHub.get_current_instance()
    assert hub.get_scalar("train/grad_norm").current() == pytest.approx((9 + 0.0625) ** 0.5)


def test_the_norm_goes_to_the_hub_that_was_given() -> None:
    param = nn.Parameter(torch.zeros(2))
    wrapper = OptimWrapper(torch.optim.SGD([param], lr=1.0), clip_grad={"max_norm": 1.0})
    wrapper.message_hub = MessageHub.get_instance("ours")
    MessageHub.get_instance("another run, started later")
    wrapper.update_params(param.sum())
    assert "train/grad_norm" in MessageHub.get_instance("ours").log_scalars


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"accumulative_counts": 0}, OptimArgumentError, "accumulative_counts must be at least 1"),
        ({"accumulative_counts": 1.5}, OptimTypeError, "accumulative_counts must be an integer"),
        ({"clip_grad": 3}, OptimTypeError, r"clip_grad must be a dict such as dict\(max_norm"),
        ({"clip_grad": {}}, OptimArgumentError, "needs 'max_norm'"),
        ({"clip_grad": {"type": "size"}}, OptimArgumentError, "'norm' or 'value', got 'size'"),
        ({"clip_grad": {"type": "value", "max_norm": 1}}, OptimArgumentError, "needs 'clip_value'"),
    ],
)
def test_an_argument_that_cannot_work_is_named(sgd, arguments, error, text) -> None:
    with pytest.raises(error, match=text):
        OptimWrapper(sgd(), **arguments)


def test_something_that_is_no_optimizer_is_refused(model) -> None:
    with pytest.raises(OptimTypeError, match=r"must be a torch.optim.Optimizer, got Sequential"):
        OptimWrapper(model)


def test_the_printed_form_names_type_accumulation_and_optimizer(sgd) -> None:
    text = repr(OptimWrapper(sgd(0.25), accumulative_counts=2))
    assert text.startswith("Type: OptimWrapper\naccumulative_counts: 2\noptimizer:\nSGD (")
    assert "lr: 0.25" in text


@pytest.mark.parametrize("make", [OptimWrapper, AmpOptimWrapper], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (lambda out: out.detach().sum(), "has no graph.*Is it detached"),
        (lambda out: (out > 0).sum(), r"\(dtype torch.int64\) has no graph"),
        (lambda out: out, r"must be a scalar, and has shape \(5, 1\). Take its mean or sum"),
    ],
    ids=["detached", "integer", "no scalar"],
)
def test_a_loss_that_cannot_be_differentiated_is_explained(model, make, loss, text) -> None:
    wrapper = make(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(LossError, match=text):
        wrapper.update_params(loss(model(torch.randn(5, 3))))
    assert wrapper.inner_count == 0
