"""Layers cut over ranks by plans: what a plan may say, and who gets which data."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drivetrain import dist
from drivetrain.dist import _data_share
from drivetrain.dist._sharding import shard_model
from drivetrain.dist.strategy._shards import gathered, map_tensors

MESH = {"tensor": 2}


class Net(nn.Module):
    """An embedding that shares its weight with the head, and two layers between them."""

    def __init__(self, words: int = 6, width: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.fc1 = nn.Linear(width, 8)
        self.fc2 = nn.Linear(8, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, words: Tensor) -> Tensor:
        x = self.embedding(words)
        return self.head(self.norm(x + self.fc2(self.fc1(x).tanh())))


LAYERS = {"fc1": "colwise", "fc2": "rowwise"}
WITH_WORDS = {
    **LAYERS,
    "embedding": {"type": "rowwise", "input_layouts": "replicate"},
    "head": {"type": "colwise", "output_layouts": "replicate"},
}


def _outputs(plan: dict[str, Any]) -> tuple[Tensor, list[tuple[int, ...]], bool]:
    torch.manual_seed(0)
    model: Any = shard_model(Net(), mesh=MESH, tensor_parallel=plan)
    with torch.no_grad():
        found = model(torch.arange(6))
        shapes = [tuple(param.to_local().shape) for param in model.parameters()]
        same = torch.equal(model.sharded_copy()(torch.arange(6)), found)
    return found, shapes, same and model.head.weight is model.embedding.weight


@pytest.mark.parametrize("plan", [LAYERS, WITH_WORDS], ids=["layers", "with words"])
def test_parts_of_layers_compute_what_whole_ones_do(ranks: Any, plan: dict[str, Any]) -> None:
    torch.manual_seed(0)
    expected = Net()(torch.arange(6))
    for found, shapes, is_tied_and_copied in ranks(_outputs, plan):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert shapes[0] == ((3, 4) if plan is WITH_WORDS else (6, 4))
        assert shapes[1:3] == [(4, 4), (4,)]  # half of the rows of fc1
        assert shapes[3] == (4, 4)  # half of the columns of fc2
        assert is_tied_and_copied


def _refusal(plan: Any) -> str:
    try:
        shard_model(Net(), mesh=MESH, tensor_parallel=plan)
    except dist.WrapperError as err:
        return str(err)
    return ""


@pytest.mark.parametrize(
    ("plan", "texts"),
    [
        ({"fc3": "colwise"}, ["no module of Net has a name like 'fc3'", "Did you mean:  'fc"]),
        ({r"blocks\.\d+\.fc1": "colwise"}, ["Did you mean:  'fc1'", "Names:  embedding, fc1"]),
        ({"fc1": "colwize"}, ["no style 'colwize'", "Did you mean:  'colwise'"]),
        ({"norm": "rowwise"}, ["'rowwise' cuts nn.Linear and nn.Embedding", "LayerNorm"]),
        ({"fc1": "colwise", "fc.": "rowwise"}, ["'fc1' and 'fc.' both match 'fc1'"]),
        ({"fc1": {"type": "colwise", "layout": 1}}, ["cannot be", "layout"]),
        ({"embedding": "rowwise"}, ["are one parameter, but the plan cuts them differently"]),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_plan_that_cannot_be_says_why(ranks: Any, plan: Any, texts: list[str]) -> None:
    for answer in ranks(_refusal, plan):
        assert all(text in answer for text in texts), answer


def _uneven() -> str:
    try:
        shard_model(nn.Sequential(nn.Linear(4, 5)), mesh=MESH, tensor_parallel={"0": "colwise"})
    except dist.WrapperError as err:
        return str(err)
    return ""


def test_a_layer_that_does_not_divide_is_named(ranks: Any) -> None:
    for text in ranks(_uneven):
        assert "'0' has 5 rows to cut, which do not divide over tensor=2 ranks" in text


def _shares() -> Any:
    try:
        before = dist.get_data_share()
        _data_share.share_data(2)
        results = [f"sample {number}" for number in range(3)]
        return before, dist.get_data_share(), dist.collect_results(results, 3)
    finally:
        _data_share.share_data(1)


def test_ranks_that_share_a_batch_have_one_share_of_the_data(ranks: Any) -> None:
    whole = ["sample 0", "sample 1", "sample 2"]
    assert ranks(_shares) == [((0, 2), (0, 1), whole), ((1, 2), (0, 1), None)]
    assert dist.get_data_share() == (0, 1)


def _put_together() -> tuple[bool, list[str]]:
    torch.manual_seed(0)
    whole = Net().state_dict()
    torch.manual_seed(0)
    model: Any = shard_model(Net(), mesh={"shard": 2, **MESH}, tensor_parallel=WITH_WORDS)
    told: list[str] = []
    log = logging.getLogger("torch.distributed.tensor._redistribute")
    listener = logging.Handler()
    listener.emit = lambda record: told.append(record.getMessage())
    log.addHandler(listener)
    try:
        saved = map_tensors(model.state_dict(), gathered(keep=True))
        model(torch.arange(6)).square().sum().backward()
        cut_twice = [param for param in model.parameters() if param.device_mesh.ndim == 2]
        nn.utils.clip_grad_norm_(cut_twice, 1.0).full_tensor()
    finally:
        log.removeHandler(listener)
    return all(torch.equal(saved[name], value) for name, value in whole.items()), told


@pytest.mark.slow
def test_saving_puts_layers_together_exactly_and_no_advice_on_speed_is_given(
    four_ranks: Any,
) -> None:
    assert four_ranks(_put_together) == [(True, [])] * 4


def _four() -> tuple[tuple[int, int], float]:
    torch.manual_seed(0)
    whole = Net()
    torch.manual_seed(0)
    model = shard_model(Net(), mesh={"shard": 2, **MESH}, tensor_parallel=WITH_WORDS)
    _data_share.share_data(2)
    with torch.no_grad():
        return dist.get_data_share(), float(
            (model(torch.arange(6)) - whole(torch.arange(6))).abs().max()
        )


@pytest.mark.slow
def test_neighbours_of_four_compute_a_layer_together(four_ranks: Any) -> None:
    answers = four_ranks(_four)
    assert [share for share, _ in answers] == [(0, 2), (0, 2), (1, 2), (1, 2)]
    assert max(difference for _, difference in answers) < 1e-6
