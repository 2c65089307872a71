"""Indices that choose nothing are refused in every form they come in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drivetrain.structures import ElementIndexError, FieldShapeError, FieldTypeError, InstanceData


@pytest.mark.parametrize("values", [[1, 2], torch.ones(2), np.ones(2)], ids=["list", "pt", "np"])
@pytest.mark.parametrize("index", [[7], [-3], np.array([7]), torch.tensor([0, 7])], ids=str)
def test_an_index_out_of_range_is_named_whatever_the_field(values, index) -> None:
    with pytest.raises(ElementIndexError, match=r"index (7|-3) is out of range for 2 instances"):
        InstanceData(values=values)[index]


@pytest.mark.parametrize("index", [["x"], [0.5], np.array([0.5])], ids=str)
def test_an_index_that_is_no_integer_is_not_rounded(index) -> None:
    with pytest.raises(FieldTypeError, match="indices must be integers or booleans"):
        InstanceData(values=[1, 2])[index]


def test_fields_that_cannot_be_joined_are_named_with_their_shapes() -> None:
    parts = [InstanceData(box=torch.ones(1, 2)), InstanceData(box=torch.ones(1, 3))]
    with pytest.raises(FieldShapeError, match=r"'box' cannot be joined.*\(1, 2\), \(1, 3\)"):
        InstanceData.cat(parts)
