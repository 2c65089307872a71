"""Batch norm to SyncBatchNorm and back."""

from __future__ import annotations

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
