"""Layers that normalize, and what torch is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drivetrain.model import (
    TORCH_VERSION,
    ModelTypeError,
    has_batch_norm,
    is_jit_tracing,
    is_norm,
    is_rocm_pytorch,
    torch_meshgrid,
)


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(2),
        nn.BatchNorm3d(2),
        nn.SyncBatchNorm(2),
        nn.InstanceNorm2d(2),
        nn.GroupNorm(1, 2),
        nn.LayerNorm(2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_norm_is_one_unless_it_is_excluded(layer) -> None:
    assert is_norm(layer)
    assert not is_norm(layer, exclude=type(layer))
    assert not is_norm(layer, exclude=(nn.Linear, type(layer)))


def test_other_layers_are_no_norms() -> None:
    assert not is_norm(nn.Linear(2, 2))
    with pytest.raises(ModelTypeError, match="exclude is a type"):
        is_norm(nn.Linear(2, 2), exclude="BatchNorm2d")


def test_a_batch_norm_is_found_wherever_it_is() -> None:
    assert has_batch_norm(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2))))
    assert not has_batch_norm(nn.Sequential(nn.Linear(2, 2), nn.GroupNorm(1, 2)))


def test_torch_is_described() -> None:
    assert torch.__version__ == TORCH_VERSION
    assert is_rocm_pytorch() is (torch.version.hip is not None)


def test_tracing_is_noticed() -> None:
    seen = []

    def function(x: torch.Tensor) -> torch.Tensor:
        seen.append(is_jit_tracing())
        return x * 2

    function(torch.ones(1))
    torch.jit.trace(function, torch.ones(1), check_trace=False)
    assert seen[:2] == [False, True]


def test_a_grid_has_the_order_of_a_matrix() -> None:
    rows, columns = torch_meshgrid(torch.tensor([1, 2]), torch.tensor([3, 4, 5]))
    assert rows.tolist() == [[1, 1, 1], [2, 2, 2]]
    assert columns.tolist() == [[3, 4, 5], [3, 4, 5]]
