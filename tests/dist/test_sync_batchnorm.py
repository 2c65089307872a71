"""Batch norm to SyncBatchNorm and back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from drivetrain import dist


def _model() -> nn.Sequential:
    shared = nn.BatchNorm1d(3)
    return nn.Sequential(
        nn.Linear(3, 3), shared, nn.ReLU(), shared, nn.Sequential(nn.BatchNorm1d(3, affine=False))
    )


def test_conversion_keeps_parameters_statistics_mode_and_sharing() -> None:
    model = _model()
    model(torch.randn(8, 3))
    weight, mean = model[1].weight, model[1].running_mean
    model.eval()
    expected = model(torch.ones(2, 3))

    synced = dist.convert_sync_batchnorm(model)

    assert synced is model
    assert isinstance(model[1], nn.SyncBatchNorm)
    assert isinstance(model[4][0], nn.SyncBatchNorm)
    assert model[3] is model[1]
    assert model[1].weight is weight
    assert model[1].running_mean is mean
    assert not model[1].training
    torch.testing.assert_close(model(torch.ones(2, 3)), expected, rtol=0, atol=0)


def test_the_way_back_gives_a_batch_norm_of_any_dimensions() -> None:
    model = dist.revert_sync_batchnorm(dist.convert_sync_batchnorm(_model()))
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    assert model[3] is model[1]
    assert model[1](torch.randn(2, 3, 4, 4)).shape == (2, 3, 4, 4)


def test_a_layer_alone_is_replaced_itself() -> None:
    layer = dist.convert_sync_batchnorm(nn.BatchNorm2d(4, eps=1e-3, momentum=0.2))
    assert isinstance(layer, nn.SyncBatchNorm)
    assert (layer.eps, layer.momentum) == (1e-3, 0.2)
    reverted = dist.revert_sync_batchnorm(layer)
    assert not isinstance(reverted, nn.SyncBatchNorm)


def test_other_layers_stay() -> None:
    model = nn.Sequential(nn.GroupNorm(1, 3), nn.InstanceNorm2d(3))
    before = list(model)
    assert list(dist.convert_sync_batchnorm(model)) == before
    assert list(dist.revert_sync_batchnorm(model)) == before


def test_state_dicts_fit_across_the_conversion() -> None:
    model = _model()
    before = model.state_dict()
    dist.convert_sync_batchnorm(model).load_state_dict(before)


@pytest.mark.parametrize("name", ["mmcv", "apex"])
def test_an_implementation_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(dist.BackendError, match=name):
        dist.convert_sync_batchnorm(_model(), name)


def _inputs(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(shape, generator=generator) * 3 + 100).to(dtype)


def _train_norm(norm: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = inputs.clone().requires_grad_()
    outputs = norm(inputs)
    (outputs.square() * torch.arange(outputs.shape[1]).view(-1, 1, 1)).sum().backward()
    assert inputs.grad is not None
    return outputs.detach(), inputs.grad


def _portable(shape: tuple[int, ...], momentum: float | None, dtype: torch.dtype) -> Any:
    norm: Any = nn.BatchNorm2d(shape[1], momentum=momentum)
    norm = dist.convert_sync_batchnorm(
        norm.double() if dtype is torch.float64 else norm, "portable"
    )
    cut = shape[0] // 3  # ranks with batches of different sizes
    own = slice(cut) if dist.get_rank() == 0 else slice(cut, None)
    outputs, grad = _train_norm(norm, _inputs(shape, dtype)[own])
    weight_grad = norm.weight.grad.clone()
    dist.all_reduce(weight_grad)
    return outputs, grad, norm.running_mean, norm.running_var, weight_grad


@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_portable_one_trains_like_one_process_on_the_whole_batch(
    ranks: Any, momentum: float | None
) -> None:
    shape = (6, 3, 4, 4)
    first, second = ranks(_portable, shape, momentum, torch.float64)
    norm = nn.BatchNorm2d(3, momentum=momentum).double()
    outputs, grad = _train_norm(norm, _inputs(shape, torch.float64))
    torch.testing.assert_close(torch.cat([first[0], second[0]]), outputs)
    torch.testing.assert_close(torch.cat([first[1], second[1]]), grad)
    for own in (first, second):
        torch.testing.assert_close(own[2], norm.running_mean)
        torch.testing.assert_close(own[3], norm.running_var)
        torch.testing.assert_close(own[4], norm.weight.grad)


def test_the_portable_one_keeps_the_type_of_its_input(ranks: Any) -> None:
    first, _ = ranks(_portable, (6, 3, 2, 2), 0.1, torch.bfloat16)
    assert first[0].dtype is torch.bfloat16


def test_the_portable_one_alone_is_an_ordinary_batch_norm() -> None:
    norm = dist.convert_sync_batchnorm(nn.BatchNorm1d(3), "portable")
    torch.testing.assert_close(norm(torch.eye(3)), nn.BatchNorm1d(3)(torch.eye(3)))
    assert not isinstance(dist.revert_sync_batchnorm(norm), dist.PortableSyncBatchNorm)
