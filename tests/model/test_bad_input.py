"""Wrong arguments are refused with their place."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from drivetrain.model import (
    BaseModel,
    ExponentialMovingAverage,
    ModelArgumentError,
    ModelTypeError,
    MomentumAnnealingEMA,
    stack_batch,
)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(ExponentialMovingAverage, {"interval": 1.5}), (MomentumAnnealingEMA, {"gamma": math.nan})],
)
def test_an_average_refuses_numbers_that_it_cannot_count_with(kind, options) -> None:
    (name,) = options
    with pytest.raises(ModelArgumentError, match=f"{name} must be"):
        kind(nn.Linear(1, 1), **options)


def test_stacking_names_the_item_that_is_no_tensor() -> None:
    with pytest.raises(ModelTypeError, match="item 1 must be a tensor, got int"):
        stack_batch([torch.ones(3, 2, 2), 1])


class WithoutNotes(RuntimeError):
    """As errors were before Python 3.11."""

    @property
    def add_note(self) -> None:
        raise AttributeError("add_note")


def test_where_errors_take_no_notes_their_message_tells_of_the_batch() -> None:
    class Fails(BaseModel):
        def forward(self, inputs, mode="tensor"):
            raise WithoutNotes("boom")

    with pytest.raises(WithoutNotes, match=r"(?s)^boom\nIn Fails.*on the batch \[float32\(2, 3\)"):
        Fails().val_step([torch.ones(2, 3)])
