from __future__ import annotations

import pytest
import torch
from torch import nn

from drivetrain.model import BaseModel, BaseTTAModel, BatchError, ModelTypeError
from drivetrain.registry import MODELS


class Doubling(BaseModel):
    def forward(self, inputs, data_samples=None, mode="tensor"):
        return [2 * image for image in inputs]


class Mean(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return [sum(views) / len(views) for views in data_samples_list]


VIEWS = [[torch.tensor(1.0), torch.tensor(2.0)], [torch.tensor(3.0), torch.tensor(6.0)]]


@pytest.mark.parametrize(
    "batch", [{"inputs": VIEWS}, (VIEWS, VIEWS)], ids=["dict of fields", "tuple of fields"]
)
def test_predictions_for_all_views_of_a_sample_are_merged(batch) -> None:
    assert Mean(Doubling()).test_step(batch) == [4.0, 8.0]


def test_the_model_can_be_given_as_a_node() -> None:
    MODELS.register_module(name="DoublingInTest", module=Doubling, force=True)
    assert Mean({"type": "DoublingInTest"}).test_step({"inputs": VIEWS}) == [4.0, 8.0]


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(ModelTypeError, match="a model with test_step, or its dict, got Linear"):
        Mean(nn.Linear(1, 1))
    with pytest.raises(BatchError, match="one number of views, got"):
        Mean(Doubling()).test_step({"inputs": VIEWS, "data_samples": VIEWS[:1]})
    with pytest.raises(NotImplementedError, match="call test_step"):
        Mean(Doubling())(torch.ones(1))
