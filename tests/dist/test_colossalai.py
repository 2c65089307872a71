"""The adapter to ColossalAI, against a booster that does with torch what the real one documents."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain import dist
from drivetrain.dist.strategy import ColossalAIStrategy

optim = pytest.importorskip("drivetrain.optim")


def _tiny() -> Any:
    import tiny_training

    return tiny_training


class GeminiPlugin:
    def __init__(self, precision: str = "fp16") -> None:
        self.precision = precision


class Boosted(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


class Booster:
    """The methods that the strategy calls, with the signatures of ColossalAI 0.5's documents."""

    def __init__(self, device: Any = None, mixed_precision: Any = None, plugin: Any = None) -> None:
        self.plugin = plugin

    def boost(self, model: nn.Module, optimizer: Any = None, *others: Any) -> tuple[Any, ...]:
        return Boosted(model), optimizer, None, None, None

    def backward(self, loss: torch.Tensor, optimizer: Any) -> None:
        loss.backward()

    @contextmanager
    def no_sync(self, model: Any = None, optimizer: Any = None) -> Any:
        yield

    def save_model(self, model: Any, checkpoint: str, shard: bool = False) -> None:
        torch.save(model.module.state_dict(), checkpoint)

    def load_model(self, model: Any, checkpoint: str, strict: bool = True) -> None:
        model.module.load_state_dict(torch.load(checkpoint))

    def save_optimizer(self, optimizer: Any, checkpoint: str, shard: bool = False) -> None:
        torch.save(optimizer.state_dict(), checkpoint)

    def load_optimizer(self, optimizer: Any, checkpoint: str) -> None:
        optimizer.load_state_dict(torch.load(checkpoint))


@pytest.fixture
def colossalai(monkeypatch: pytest.MonkeyPatch) -> None:
    booster, plugin = ModuleType("colossalai.booster"), ModuleType("colossalai.booster.plugin")
    vars(booster).update(Booster=Booster)
    vars(plugin).update(GeminiPlugin=GeminiPlugin)
    for module in (ModuleType("colossalai"), booster, plugin):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    # One process: what is tried here is the adapter, not the exchange of gradients.
    monkeypatch.setattr(ColossalAIStrategy, "several_processes", False)


def _prepared(folder: Path, *widths: int) -> Any:
    strategy = ColossalAIStrategy(
        work_dir=str(folder), plugin={"type": "gemini", "precision": "bf16"}
    ).setup()
    model = _tiny().TinyModel(widths or (4, 8, 2))
    wrapper = optim.ColossalAIOptimWrapper(torch.optim.AdamW(model.parameters(), lr=0.01))
    strategy.prepare(model, optim_wrapper=wrapper, param_scheduler={"factor": 0.9})
    return strategy


def test_a_boosted_model_trains_and_is_resumed(colossalai: None, tmp_path: Path) -> None:
    with _tiny().tiny_builders():
        strategy = _prepared(tmp_path)
        assert strategy.plugin.precision == "bf16"
        _tiny().train(strategy, range(2))
        strategy.save_checkpoint(str(tmp_path / "step_2"))
        expected = _tiny().train(strategy, range(2, 4))
        resumed = _prepared(tmp_path)
        resumed.resume(str(tmp_path / "step_2"))
        assert resumed.param_schedulers[0].steps == 2
        weights = _tiny().train(resumed, range(2, 4))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_folder_of_another_model_is_refused(colossalai: None, tmp_path: Path) -> None:
    with _tiny().tiny_builders():
        _prepared(tmp_path).save_checkpoint(str(tmp_path / "run"))
        with pytest.raises(dist.StrategyConfigError, match=r"layers\.0\.weight: \(8, 4\) in the"):
            _prepared(tmp_path, 4, 6, 2).resume(str(tmp_path / "run"))


def test_an_unknown_plugin_is_named(colossalai: None) -> None:
    with pytest.raises(dist.StrategyConfigError, match="no plugin 'gemni'"):
        ColossalAIStrategy(plugin="gemni")


def test_without_colossalai_the_error_says_which_versions_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "colossalai", None)
    with pytest.raises(dist.StrategyError, match=r"need torch 2\.2 to 2\.5\.1"):
        ColossalAIStrategy()
