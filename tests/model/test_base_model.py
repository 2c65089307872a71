from __future__ import annotations

import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from drivetrain.model import (
    BaseDataPreprocessor,
    BaseModel,
    ImgDataPreprocessor,
    ModelOutputError,
    ModelTypeError,
)


class Updater:
    """Stands where the optimizer wrapper stands, and keeps what it is given."""

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []

    def optim_context(self, model: nn.Module):
        return nullcontext()

    def update_params(self, loss: torch.Tensor) -> None:
        self.losses.append(loss)
        loss.backward()


class Net(BaseModel):
    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.linear = nn.Linear(3, 2)
        self.modes: list[str] = []

    def forward(self, inputs, labels=None, mode="tensor"):
        self.modes.append(mode)
        logits = self.linear(inputs)
        if mode == "loss":
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}
        return logits.argmax(1) if mode == "predict" else logits


BATCH = (torch.ones(4, 3), torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize(
    "batch",
    [BATCH, list(BATCH), {"inputs": BATCH[0], "labels": BATCH[1]}],
    ids=lambda b: type(b).__name__,
)
def test_a_training_step_updates_once_and_returns_what_to_log(batch) -> None:
    model, updater = Net(), Updater()
    logged = model.train_step(batch, updater)
    assert model.modes == ["loss"]
    assert len(updater.losses) == 1
    assert list(logged) == ["loss", "logits"]
    assert model.linear.weight.grad is not None


def test_what_is_logged_holds_no_graph_and_shares_the_loss_value() -> None:
    model, updater = Net(), Updater()
    logged = model.train_step(BATCH, updater)
    assert all(value.grad_fn is None and value.ndim == 0 for value in logged.values())
    assert torch.equal(logged["loss"], updater.losses[0].detach())


@pytest.mark.parametrize("step", ["val_step", "test_step"])
def test_validation_and_testing_predict(step) -> None:
    model = Net()
    assert getattr(model, step)(BATCH).shape == (4,)
    assert model.modes == ["predict"]


def test_the_preprocessor_is_told_whether_the_model_trains() -> None:
    seen = []

    class Spy(BaseDataPreprocessor):
        def forward(self, data, training=False):
            seen.append(training)
            return data

    model = Net(data_preprocessor=Spy())
    model.train_step(BATCH, Updater())
    model.val_step(BATCH)
    assert seen == [True, False]


def test_a_preprocessor_can_be_given_as_a_node() -> None:
    assert type(Net().data_preprocessor) is BaseDataPreprocessor
    model = Net(data_preprocessor={"type": "ImgDataPreprocessor", "pad_size_divisor": 8})
    assert type(model.data_preprocessor) is ImgDataPreprocessor
    with pytest.raises(ModelTypeError, match="must be a module or a dict, got int"):
        Net(data_preprocessor=3)


def test_a_batch_that_cannot_be_unpacked_is_refused() -> None:
    with pytest.raises(ModelTypeError, match="a dict, a list or a tuple, got Tensor"):
        Net().val_step(torch.ones(4, 3))


def parse(**losses):
    total, logged = Net().parse_losses(losses)
    return float(total), {name: float(value) for name, value in logged.items()}


def test_names_that_contain_loss_are_summed_and_all_are_logged() -> None:
    total, logged = parse(
        loss_cls=torch.tensor([1.0, 3.0]),
        loss_box=[torch.tensor(1.0), torch.tensor([2.0, 4.0])],
        accuracy=torch.tensor(7),
    )
    assert total == 2.0 + 1.0 + 3.0
    assert logged == {"loss": 6.0, "loss_cls": 2.0, "loss_box": 4.0, "accuracy": 7.0}


def test_the_logged_loss_is_the_sum_also_where_one_part_has_that_name() -> None:
    assert parse(loss=torch.tensor(1.0), aux_loss=torch.tensor(2.0)) == (
        3.0,
        {"loss": 3.0, "aux_loss": 2.0},
    )


def test_integers_are_averaged_too() -> None:
    assert parse(loss=torch.tensor(0.0), hits=torch.tensor([1, 0, 0, 0]))[1]["hits"] == 0.25


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        (torch.zeros(1), r"forward\(mode='loss'\) must return a dict of losses, got Tensor"),
        ({"acc": torch.zeros(1)}, "a name must contain 'loss', got 'acc'"),
        ({}, "a name must contain 'loss', got nothing"),
        ({"loss": 3.0}, "'loss' must be a tensor or a list of tensors, got float"),
        ({"loss": [1.0]}, "'loss' must be a tensor or a list of tensors, got list"),
    ],
)
def test_losses_that_cannot_be_used_are_explained(losses, text) -> None:
    with pytest.raises(ModelOutputError, match=text):
        Net().parse_losses(losses)


def test_a_model_without_forward_cannot_be_made() -> None:
    class Empty(BaseModel):
        pass

    with pytest.raises(TypeError, match="forward"):
        Empty()


def test_a_reported_number_of_samples_goes_with_the_loss_and_is_not_logged() -> None:
    total, logged = Net().parse_losses({"loss": torch.tensor(1.0), "num_samples": 5})
    assert total.num_samples == 5
    assert list(logged) == ["loss"]


class Fails(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs, *others, mode="tensor", **more):
        return {"loss": self.layer(inputs).mean()}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes of errors came with Python 3.11")
@pytest.mark.parametrize(
    ("data", "outline"),
    [
        ([torch.ones(2, 3)], "[float32(2, 3)]"),
        ({"inputs": torch.ones(2, 2, dtype=torch.int64)}, "{inputs: int64(2, 2)}"),
        ((torch.ones(3), ["a"] * 8), "[float32(3,), [str, str, str, str, str, str, and 2 more]]"),
    ],
    ids=["shape", "dtype", "nested"],
)
def test_a_batch_that_does_not_fit_is_shown_with_the_error(data, outline) -> None:
    with pytest.raises(RuntimeError) as caught:
        Fails().val_step(data)
    (note,) = caught.value.__notes__
    assert note.startswith("In Fails.forward(mode='predict'), whose parameters are torch.float32")
    assert f"on the batch {outline}. Shapes and types come from" in note
