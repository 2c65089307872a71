"""The guide on models, initialization, test-time augmentation and complexity, by example.

Small networks and numbers in place of ResNet-50 and CIFAR-10.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drivetrain.model import (
    BaseDataPreprocessor,
    BaseModel,
    BaseModule,
    BaseTTAModel,
)
from drivetrain.model.analysis import get_model_complexity_info
from drivetrain.registry import MODELS, WEIGHT_INITIALIZERS


class Updates:
    """The little that ``train_step`` asks of an optimizer wrapper."""

    def __init__(self, model: nn.Module) -> None:
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    def optim_context(self, model: nn.Module) -> Any:
        return torch.enable_grad()

    def update_params(self, loss: Tensor) -> None:
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


class Classifier(BaseModel):
    """Two classes of points: left and right."""

    def __init__(self, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor)
        self.layer = nn.Linear(2, 2)

    def forward(self, points: Tensor, labels: Tensor | None = None, mode: str = "tensor") -> Any:
        scores = self.layer(points)
        if mode == "loss":
            return {"loss": F.cross_entropy(scores, labels)}
        return (scores, labels) if mode == "predict" else scores


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    points = torch.randn(8, 16, 2)
    return [(part, (part[:, 0] > 0).long()) for part in points]


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_the_data_flow_of_training_and_validation(
    batches: list[tuple[Tensor, Tensor]], form: str
) -> None:
    """The loops of the engine, written out; a batch reaches ``forward`` as the loader gave it."""
    model = Classifier()
    updates = Updates(model)

    def given(points: Tensor, labels: Tensor) -> Any:
        return (points, labels) if form == "tuple" else {"points": points, "labels": labels}

    losses = [model.train_step(given(*batch), updates)["loss"] for batch in batches * 4]
    assert losses[-1] < losses[0] / 2
    assert not any(loss.requires_grad for loss in losses)

    right = 0
    for batch in batches:
        scores, labels = model.val_step(given(*batch))
        right += int((scores.argmax(1) == labels).sum())
    assert right / 128 > 0.9


def test_a_training_step_of_ones_own(batches: list[tuple[Tensor, Tensor]]) -> None:
    """What ``train_step`` does, spelt out in a subclass; validation returns losses."""

    class Spelt(Classifier):
        def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
            data = self.data_preprocessor(data, training=True)
            loss, log_vars = self.parse_losses(self(*data, mode="loss"))
            optim_wrapper.update_params(loss)
            return log_vars

        def val_step(self, data: Any) -> Any:
            return self(*self.data_preprocessor(data), mode="loss")

    torch.manual_seed(1)
    spelt = Spelt()
    torch.manual_seed(1)
    plain = Classifier()
    for batch in batches:
        ours = spelt.train_step(batch, Updates(spelt))
        assert torch.equal(ours["loss"], plain.train_step(batch, Updates(plain))["loss"])
    assert set(spelt.val_step(batches[0])) == {"loss"}


@MODELS.register_module()
class MixUpPreprocessor(BaseDataPreprocessor):
    """Blends each sample of a training batch with another one."""

    def __init__(self, num_classes: int, alpha: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.alpha = alpha

    def forward(self, data: Any, training: bool = False) -> Any:
        points, labels = self.cast_data(data)
        if not training:
            return points, labels
        labels = F.one_hot(labels, self.num_classes).float()
        other = torch.randperm(len(points))
        share = torch.distributions.Beta(self.alpha, self.alpha).sample()
        mixed = [share * part + (1 - share) * part[other] for part in (points, labels)]
        return tuple(mixed)


def test_a_preprocessor_blends_batches_in_training_only(
    batches: list[tuple[Tensor, Tensor]],
) -> None:
    model = Classifier({"type": "MixUpPreprocessor", "num_classes": 2, "alpha": 0.5})
    points, labels = batches[0]
    mixed, soft = model.data_preprocessor((points, labels), training=True)
    assert soft.shape == (16, 2)
    torch.testing.assert_close(soft.sum(1), torch.ones(16))
    assert not torch.equal(mixed, points)
    assert model.data_preprocessor((points, labels))[0] is points
    assert model.train_step((points, labels), Updates(model))["loss"].isfinite()


class Net(BaseModule):
    def __init__(self, init_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        self.conv = nn.Conv2d(1, 1, 1)
        self.linear = nn.Linear(1, 1)
        self.reg = nn.Linear(1, 1)


def values(net: nn.Module) -> dict[str, tuple[float, float]]:
    return {
        name: (part.weight.flatten()[0].item(), part.bias[0].item())
        for name, part in net.named_children()
    }


def test_initialization_from_a_config() -> None:
    net = Net(
        [
            {"type": "Constant", "layer": "Conv2d", "val": 1, "bias": 2},
            {
                "type": "Constant",
                "layer": "Linear",
                "val": 3,
                "bias": 4,
                "override": {"type": "Constant", "name": "reg", "val": 5, "bias": 6},
            },
        ]
    )
    net.init_weights()
    assert values(net) == {"conv": (1, 2), "linear": (3, 4), "reg": (5, 6)}


def test_initialization_from_a_checkpoint(tmp_path: Any) -> None:
    source = Net()
    torch.save(source.state_dict(), tmp_path / "net.pth")
    net = Net({"type": "Pretrained", "checkpoint": str(tmp_path / "net.pth")})
    net.init_weights()
    assert values(net) == values(source)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Constant", {"val": 0.5}),
        ("Xavier", {}),
        ("Normal", {"std": 0.1}),
        ("TruncNormal", {"std": 0.1}),
        ("Uniform", {"a": -0.1, "b": 0.1}),
        ("Kaiming", {}),
        ("Caffe2Xavier", {}),
    ],
)
def test_every_listed_initializer_is_found_by_its_name(name: str, settings: dict[str, Any]) -> None:
    net = Net({"type": name, "layer": "Linear", "bias": 0.25, **settings})
    before = values(net)
    net.init_weights()
    assert values(net)["linear"][1] == 0.25
    assert values(net)["linear"][0] != before["linear"][0]
    assert values(net)["conv"] == before["conv"]


def test_an_initializer_and_an_init_weights_of_ones_own() -> None:
    @WEIGHT_INITIALIZERS.register_module(force=True)
    class Nines:
        def __call__(self, module: nn.Module) -> None:
            for param in module.parameters():
                nn.init.constant_(param, 9)

    class Last(Net):
        def init_weights(self) -> None:
            super().init_weights()
            nn.init.constant_(self.reg.bias, 1)

    net = Last({"type": "Nines"})
    net.init_weights()
    assert values(net) == {"conv": (9, 9), "linear": (9, 9), "reg": (9, 1)}


@MODELS.register_module()
class MeanOfViews(BaseTTAModel):
    """Merges what a classifier says about several views of each sample."""

    def merge_preds(self, data_samples_list: list[list[Tensor]]) -> list[Tensor]:
        return [torch.stack(views).mean(0) for views in data_samples_list]


def test_predictions_for_several_views_are_merged() -> None:
    """Two views of each of three samples; a mirrored pair of points cancels out by hand."""

    @MODELS.register_module(force=True)
    class Doubling(BaseModel):
        def forward(self, points: list[Tensor], mode: str = "tensor") -> list[Tensor]:
            assert mode == "predict"
            return [2 * point for point in points]

    model = MODELS.build({"type": "MeanOfViews", "module": {"type": "Doubling"}})
    points = torch.tensor([[1.0], [2.0], [3.0]])
    views = {"points": [list(points), list(points + 2)]}  # by view, then by sample
    assert [merged.item() for merged in model.test_step(views)] == [4, 6, 8]


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(10, 10)
        self.second = nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(self.second(x))


class Outer(Inner):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.inner(x))


def rows(table: str) -> Iterator[list[str]]:
    for line in table.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_costs_of_a_model_as_numbers_table_and_text() -> None:
    """Four layers of 10 x 10: 100 operations, 10 activations and 110 parameters each."""
    info = get_model_complexity_info(Outer(), (1, 10))
    assert (info["flops"], info["activations"], info["params"]) == (400, 40, 440)
    assert (info["flops_str"], info["params_str"], info["activations_str"]) == (
        "0.4K",
        "0.44K",
        "40",
    )
    table = {row[0]: row[1:] for row in rows(info["out_table"])}
    assert table["inner"] == ["0.22K", "0.2K", "20"]
    assert table["inner.first"] == ["0.11K", "100", "10"]
    assert table["inner.first.weight"][0] == "(10, 10)"
    assert "(second): Linear(" in info["out_arch"]
    assert "#params: 0.22K, #flops: 0.2K, #acts: 20" in info["out_arch"]


def test_the_costs_of_a_convolution() -> None:
    conv = nn.Conv2d(3, 10, 3)
    info = get_model_complexity_info(conv, inputs=torch.randn(1, 3, 10, 10))
    assert info["flops"] == 10 * 8 * 8 * 3 * 3 * 3
    assert info["activations"] == 10 * 8 * 8
    assert info["params"] == 3 * 10 * 3 * 3 + 10


def test_the_costs_of_a_model_of_the_engine() -> None:
    info = get_model_complexity_info(Classifier(), (2,))
    assert (info["flops"], info["params"]) == (4, 6)
