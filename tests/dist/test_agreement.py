"""Ranks that were started differently are found at the start, and told which, where and how."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain import dist
from drivetrain.dist.strategy import DDPStrategy, FSDPStrategy


def _answer(action: Any) -> str:
    try:
        action()
    except dist.DataMismatchError as err:
        return str(err)
    return "alike"


def _agree(facts: list[dict[str, Any]]) -> str:
    return _answer(lambda: dist.check_agreement(facts[dist.get_rank()]))


def test_facts_that_differ_are_named_with_each_rank(ranks: Any) -> None:
    assert ranks(_agree, [{"a": 1}, {"a": 1}]) == ["alike", "alike"]
    answers = ranks(_agree, [{"a": 1, "torch": "2.6"}, {"a": 1, "torch": "2.7"}])
    assert all("torch:  rank 0: '2.6', rank 1: '2.7'" in text for text in answers)
    assert all("a:" not in text for text in answers)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1] * 3 + [2] + [1] * 96, "a:  ranks 0-2, 4-99: 1, rank 3: 2"),
        ([[1], None, [1]], "a:  ranks 0, 2: [1], rank 1: None"),
        (["x" * 900, "y"], f"a:  rank 0: '{'x' * 196}..., rank 1: 'y'"),
    ],
)
def test_the_odd_one_of_many_ranks_is_seen(
    monkeypatch: pytest.MonkeyPatch, values: list[Any], text: str
) -> None:
    answers = [{"a": value} for value in values]
    monkeypatch.setattr("drivetrain.dist._agreement.all_gather_object", lambda *_: answers)
    with pytest.raises(dist.DataMismatchError) as caught:
        dist.check_agreement({})
    assert str(caught.value) == f"The ranks were not started alike:\n  {text}"


def _compare_settings(settings: list[dict[str, Any]]) -> str:
    return _answer(lambda: dist.check_same_settings("config", settings[dist.get_rank()]))


def test_settings_are_named_by_their_path(ranks: Any) -> None:
    alike = {"model": {"type": nn.Linear, "widths": [1, 2]}, "keys": {0, 8}, "hook": object()}
    same = {**alike, "keys": {8, 0}}  # the order in a set is each process's own
    assert ranks(_compare_settings, [alike, same]) == ["alike", "alike"]
    other = {**alike, "model": {"type": nn.Linear, "widths": [1, 3]}}
    for text in ranks(_compare_settings, [alike, other]):
        assert text.splitlines()[1:] == ["  config model.widths.1:  rank 0: 2, rank 1: 3"]


def _import_own(folder: str) -> str:
    path = f"{folder}/{dist.get_rank()}"
    sys.path.insert(0, path)
    try:
        importlib.import_module("module_of_the_user")
        return _answer(lambda: DDPStrategy(work_dir=folder).setup())
    finally:
        sys.path.remove(path)
        del sys.modules["module_of_the_user"]


def test_another_text_of_a_module_is_named_with_its_files(ranks: Any, tmp_path: Path) -> None:
    for rank in (0, 1):
        (tmp_path / str(rank)).mkdir()
        (tmp_path / str(rank) / "module_of_the_user.py").write_text("WIDTH = 1\n")
    assert ranks(_import_own, str(tmp_path)) == ["alike", "alike"]
    (tmp_path / "1" / "module_of_the_user.py").write_text("WIDTH = 2  # changed since\n")
    for text in ranks(_import_own, str(tmp_path)):
        (row,) = text.splitlines()[1:]
        assert row.startswith(f"  code of module_of_the_user:  rank 0: {tmp_path}/0/module_of_the")
        assert f"rank 1: {tmp_path}/1/module_of_the_user.py" in row


def _start_with_versions(folder: str, torch_version: str, own_version: str) -> str:
    real = torch.__version__, dist.__version__
    if dist.get_rank() == 1:
        torch.__version__, dist.__version__ = torch_version, own_version
    try:
        return _answer(lambda: DDPStrategy(work_dir=folder).setup())
    finally:
        torch.__version__, dist.__version__ = real


def test_other_versions_are_named(ranks: Any, tmp_path: Path) -> None:
    for text in ranks(_start_with_versions, str(tmp_path), "2.1.0", "0.0.1"):
        assert text.splitlines()[1:] == [
            f"  version of drivetrain.dist:  rank 0: {dist.__version__}, rank 1: 0.0.1",
            f"  version of torch:  rank 0: {torch.__version__}, rank 1: 2.1.0",
        ]


def _start_with_seeds(folder: str, seeds: list[int]) -> str:
    randomness = {"seed": seeds[dist.get_rank()]}
    strategy = DDPStrategy(work_dir=folder, env_kwargs={"randomness": randomness})
    return _answer(strategy.setup)


def test_another_seed_is_named(ranks: Any, tmp_path: Path) -> None:
    assert ranks(_start_with_seeds, str(tmp_path), [3, 3]) == ["alike", "alike"]
    for text in ranks(_start_with_seeds, str(tmp_path), [3, 4]):
        assert text.splitlines()[1:] == ["  randomness:  rank 0: {'seed': 3}, rank 1: {'seed': 4}"]


def _prepare_own(strategy: str, folder: str, widths: list[int]) -> str:
    kind = {"ddp": DDPStrategy, "fsdp": FSDPStrategy}[strategy]
    model = nn.Linear(2, widths[dist.get_rank()])
    return _answer(lambda: kind(work_dir=folder).prepare(model))


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_another_model_is_named_before_a_rank_waits(
    ranks: Any, tmp_path: Path, strategy: str
) -> None:
    assert ranks(_prepare_own, strategy, str(tmp_path), [3, 3]) == ["alike", "alike"]
    for text in ranks(_prepare_own, strategy, str(tmp_path), [3, 4]):
        assert text.splitlines()[1:] == [
            "  model bias:  rank 0: (3,) float32, rank 1: (4,) float32",
            "  model weight:  rank 0: (3, 2) float32, rank 1: (4, 2) float32",
        ]


class Stages(DDPStrategy):
    same_model_on_ranks = False

    def wrap_model(self, model: nn.Module) -> nn.Module:
        return model


def _prepare_stage(folder: str) -> int:
    model, *_ = Stages(work_dir=folder).prepare(nn.Linear(1, 1 + dist.get_rank()))
    return model.out_features


def test_a_strategy_may_give_each_rank_a_model_of_its_own(ranks: Any, tmp_path: Path) -> None:
    assert ranks(_prepare_stage, str(tmp_path)) == [1, 2]
