"""A loss that is no number stops training before it reaches the parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from drivetrain.optim import AmpOptimWrapper, LossError, NonFiniteLossError, OptimWrapper

BAD = [float("nan"), float("inf"), float("-inf")]


def make(**settings) -> tuple[nn.Module, OptimWrapper]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    return model, OptimWrapper(
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), **settings
    )


def good_loss(model: nn.Module) -> torch.Tensor:
    return model(torch.ones(2, 3)).pow(2).mean()


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_loss_that_is_no_number_changes_nothing(bad: float, dtype: torch.dtype) -> None:
    model, wrapper = make()
    wrapper.update_params(good_loss(model))
    weights, state = copy.deepcopy(model.state_dict()), copy.deepcopy(wrapper.state_dict())

    with pytest.raises(NonFiniteLossError, match=f"loss of update 2 is {bad} .*{dtype}"):
        wrapper.update_params(good_loss(model).to(dtype) * bad)

    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(param.grad is None for param in model.parameters())
    assert wrapper.inner_count == 1
    torch.testing.assert_close(wrapper.state_dict(), state)
    wrapper.update_params(good_loss(model))  # training can go on


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_largest_numbers_and_zero_are_numbers(dtype: torch.dtype) -> None:
    param = nn.Parameter(torch.zeros((), dtype=dtype))
    wrapper = OptimWrapper(torch.optim.SGD([param], lr=0.0))
    limits = torch.finfo(dtype)
    for value in (0.0, -0.0, limits.max, limits.min, limits.tiny):
        wrapper.update_params(param + torch.tensor(value, dtype=dtype))
    assert wrapper.inner_count == 5


def test_the_error_says_what_to_do_and_is_what_callers_catch() -> None:
    model, wrapper = make()
    with pytest.raises(LossError) as caught:
        wrapper.update_params(good_loss(model) * float("nan"))
    assert isinstance(caught.value, (FloatingPointError, RuntimeError))
    for remedy in ("learning rate", "clip_grad", "bfloat16", "NaNWatchHook", "check_loss=False"):
        assert remedy in str(caught.value)


def test_an_accumulated_pass_is_named_and_its_group_kept() -> None:
    model, wrapper = make(accumulative_counts=2)
    wrapper.initialize_count_status(model, 4, -1)
    wrapper.update_params(good_loss(model))
    gradients = [param.grad.clone() for param in model.parameters()]

    with pytest.raises(NonFiniteLossError, match=r"pass 6 \(update 3, of 2 passes each\) is nan"):
        wrapper.update_params(good_loss(model) * float("nan"))

    assert all(map(torch.equal, gradients, (param.grad for param in model.parameters())))


def test_without_the_check_the_loss_goes_through() -> None:
    model, wrapper = make(check_loss=False)
    wrapper.update_params(good_loss(model) * float("nan"))
    assert model.weight.isnan().all()


def test_a_loss_scale_skips_such_updates_as_before() -> None:
    model, _ = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = AmpOptimWrapper(dtype="float16", optimizer=optimizer)
    wrapper.update_params(good_loss(model) * float("inf"))
    assert wrapper.skipped_steps == 1
    assert model.weight.isfinite().all()


def test_bfloat16_training_is_checked() -> None:
    model, _ = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = AmpOptimWrapper(dtype="bfloat16", optimizer=optimizer)
    with wrapper.optim_context(model):
        loss = good_loss(model) * float("inf")
    with pytest.raises(NonFiniteLossError):
        wrapper.update_params(loss)


def test_the_check_is_no_operation_of_torch() -> None:
    """Who counts operations that wait for a device counts none."""
    seen: list[str] = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    calls = []
    for check_loss in (True, False):
        model, wrapper = make(check_loss=check_loss)
        loss = good_loss(model)
        seen.clear()
        with Recorder():
            wrapper.update_params(loss)
        calls.append(list(seen))
    assert calls[0] == calls[1]
    assert not any("local_scalar_dense" in call for call in calls[0])


@pytest.mark.parametrize(
    "loss", [torch.zeros(0, requires_grad=True), torch.zeros(2, requires_grad=True)]
)
def test_a_loss_without_one_value_is_told_so(loss: torch.Tensor) -> None:
    _, wrapper = make()
    with pytest.raises(LossError, match="must be a scalar"):
        wrapper.update_params(loss)


def test_what_has_no_memory_of_its_own_is_not_looked_at() -> None:
    _, wrapper = make()
    param = nn.Parameter(torch.ones(2, device="meta"))
    wrapper.update_params(param.sum())
    assert param.grad.shape == (2,)
