from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from drivetrain.optim import AmpOptimWrapper, LinearLR, OptimArgumentError, OptimTypeError


def make(model: nn.Module, **kwargs) -> AmpOptimWrapper:
    return AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **kwargs)


@pytest.mark.parametrize(
    ("dtype", "inside"),
    [
        ("float16", torch.float16),
        ("bfloat16", torch.bfloat16),
        (torch.bfloat16, torch.bfloat16),
        (None, torch.bfloat16),  # what autocast uses on a CPU
        ("float32", torch.float32),
    ],
)
def test_the_forward_pass_runs_in_the_asked_precision(model, dtype, inside) -> None:
    wrapper = make(model, dtype=dtype)
    with wrapper.optim_context(model):
        assert model(torch.randn(2, 3)).dtype == inside
    assert model(torch.randn(2, 3)).dtype == torch.float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", None])
def test_only_float16_has_a_loss_scale(model, dtype) -> None:
    wrapper = make(model, dtype=dtype)
    assert not wrapper.loss_scaler.is_enabled()
    assert "loss_scaler" not in wrapper.state_dict()
    assert make(model, dtype="float16").state_dict()["loss_scaler"]["scale"] == 65536.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_training_gets_better_in_low_precision(model, dtype) -> None:
    wrapper = make(model, dtype=dtype, loss_scale=128.0, clip_grad={"max_norm": 10.0})
    batch = torch.randn(16, 3)
    losses = []
    for _ in range(20):
        with wrapper.optim_context(model):
            loss = (model(batch) - 1).pow(2).mean()
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_the_norm_that_clips_is_that_of_the_unscaled_gradients() -> None:
    layer = nn.Linear(1, 1, bias=False)
    before = layer.weight.detach().clone()
    wrapper = AmpOptimWrapper(
        optimizer=torch.optim.SGD(layer.parameters(), lr=1.0),
        dtype="float16",
        loss_scale=1024.0,
        clip_grad={"max_norm": 0.5},
    )
    wrapper.update_params(layer.weight.sum() * 2)
    torch.testing.assert_close(layer.weight, before - 0.5, atol=1e-4, rtol=0)


def overflow(wrapper: AmpOptimWrapper, model: nn.Module) -> None:
    wrapper.update_params(model(torch.full((2, 3), 1.0)).sum() * float("inf"))


@pytest.mark.parametrize("optimizer", ["plain", "fused"])
def test_an_overflow_skips_the_update_and_is_counted(model, optimizer) -> None:
    wrapper = AmpOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, fused=optimizer == "fused"),
        dtype="float16",
    )
    before = copy.deepcopy(model.state_dict())
    overflow(wrapper, model)
    assert wrapper.skipped_steps == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert wrapper.state_dict()["loss_scaler"]["scale"] == 32768.0

    wrapper.update_params(model(torch.ones(2, 3)).sum())
    assert wrapper.skipped_steps == 1
    assert not wrapper.last_step_skipped


def test_a_skipped_update_does_not_use_up_a_step_of_a_schedule(model) -> None:
    wrapper = make(model, dtype="float16")
    schedule = LinearLR(wrapper, start_factor=0.5, end=11, by_epoch=False)
    overflow(wrapper, model)
    schedule.step()
    assert wrapper.get_lr() == {"lr": [0.05]}
    wrapper.update_params(model(torch.ones(2, 3)).sum())
    schedule.step()
    assert wrapper.get_lr()["lr"] == pytest.approx([0.055])


def test_the_state_holds_scale_and_skips(model) -> None:
    wrapper = make(model, dtype="float16")
    overflow(wrapper, model)
    other = make(model, dtype="float16")
    other.load_state_dict(wrapper.state_dict())
    assert other.skipped_steps == 1
    assert other.state_dict()["loss_scaler"] == wrapper.state_dict()["loss_scaler"]


def test_a_state_of_full_precision_loads_and_leaves_the_scale_alone(model) -> None:
    wrapper = make(model, dtype="float16", loss_scale={"init_scale": 4.0})
    wrapper.load_state_dict(wrapper.optimizer.state_dict())
    assert wrapper.state_dict()["loss_scaler"]["scale"] == 4.0


def test_a_fixed_scale_never_changes(model) -> None:
    wrapper = make(model, dtype="float16", loss_scale=8)
    overflow(wrapper, model)
    assert wrapper.state_dict()["loss_scaler"]["scale"] == 8.0


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"dtype": "int8"}, OptimArgumentError, "dtype must be one of float16, bfloat16"),
        ({"loss_scale": "static"}, OptimTypeError, "'dynamic', a number or a dict, got 'static'"),
        ({"loss_scale": -1.0}, OptimArgumentError, "loss_scale must be > 0, got -1.0"),
    ],
)
def test_an_argument_that_cannot_work_is_named(model, arguments, error, text) -> None:
    with pytest.raises(error, match=text):
        make(model, **arguments)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("fused", [False, True])
def test_on_cuda_float16_is_the_default_and_overflows_are_counted(fused) -> None:
    model = nn.Linear(3, 1).cuda()
    wrapper = AmpOptimWrapper(optimizer=torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused))
    assert wrapper.scales_loss
    with wrapper.optim_context(model):
        output = model(torch.ones(2, 3, device="cuda"))
    assert output.dtype == torch.float16
    wrapper.update_params(output.float().sum() * float("inf"))
    assert wrapper.skipped_steps == 1
