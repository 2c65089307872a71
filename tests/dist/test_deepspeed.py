"""DeepSpeed's ZeRO stages train on a CPU as one process does; runs where deepspeed is installed."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from drivetrain import dist
from drivetrain.dist.strategy import DeepSpeedStrategy, SingleDeviceStrategy

DeepSpeedOptimWrapper = pytest.importorskip("drivetrain.optim").DeepSpeedOptimWrapper
installed = importlib.util.find_spec("deepspeed") is not None
pytestmark = pytest.mark.slow
needs_deepspeed = pytest.mark.skipif(not installed, reason="deepspeed is not installed")
SEEDED = {"randomness": {"seed": 7}}
ADAMW = {"type": "AdamW", "lr": 0.01}


def _tiny() -> Any:
    import tiny_training

    return tiny_training


def _without_compiling() -> None:
    """Exchange through gloo: the engine's own operator takes minutes to compile."""
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = dict.fromkeys(deepspeed.ops.__compatible_ops__, False)


def _prepared(folder: str, stage: int, widths: tuple[int, ...] = (4, 6, 2), **options: Any) -> Any:
    _without_compiling()
    strategy = DeepSpeedStrategy(
        work_dir=folder,
        env_kwargs=SEEDED,
        **{"zero_optimization": {"stage": stage}, "gradient_clipping": 0.0, **options},
    ).setup()
    model = _tiny().TinyModel(widths)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    strategy.prepare(
        model,
        optim_wrapper=DeepSpeedOptimWrapper(optimizer),
        param_scheduler={"factor": 0.9},
        dispatch_kwargs={"max_iters": 8, "train_micro_batch_size_per_gpu": 4},
    )
    return strategy


def _train(folder: str, stage: int, steps: range, options: dict[str, Any]) -> Any:
    with _tiny().tiny_builders():
        strategy = _prepared(folder, stage, **options)
        return _tiny().train(strategy, steps)


def _alone(folder: str, steps: range, **options: Any) -> dict[str, Tensor]:
    with _tiny().tiny_builders():
        strategy = SingleDeviceStrategy(work_dir=folder, env_kwargs=SEEDED).setup()
        strategy.prepare(
            _tiny().TinyModel((4, 6, 2)),
            optim_wrapper={"optimizer": ADAMW, **options},
            param_scheduler={"factor": 0.9},
        )
        return _tiny().train(strategy, steps)


@needs_deepspeed
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_stage_ends_where_one_process_ends(ranks: Any, tmp_path: Path, stage: int) -> None:
    weights, nothing = ranks(_train, str(tmp_path), stage, range(4), {})
    assert set(nothing.values()) == {None}
    for name, weight in _alone(str(tmp_path), range(4)).items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-6)


@needs_deepspeed
def test_the_engine_clips_as_one_process_does(ranks: Any, tmp_path: Path) -> None:
    weights, _ = ranks(_train, str(tmp_path), 2, range(4), {"gradient_clipping": 0.1})
    for name, weight in _alone(str(tmp_path), range(4), clip_norm=0.1).items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-4)


@needs_deepspeed
def test_bfloat16_lowers_the_loss(ranks: Any, tmp_path: Path) -> None:
    options = {"bf16": {"enabled": True}, "inputs_to_half": ["inputs", "target"]}
    assert ranks(_losses, str(tmp_path), options)[0]


def _losses(folder: str, options: dict[str, Any]) -> bool:
    with _tiny().tiny_builders():
        strategy = _prepared(folder, 2, **options)
        data = _tiny().batch(0, strategy.rank, 2)
        found = [
            float(strategy.model.train_step(data, strategy.optim_wrapper)["loss"]) for _ in range(5)
        ]
        assert strategy.model.val_step(data).dtype == torch.bfloat16
        return found[-1] < found[0]


def _resumed(folder: str, stage: int) -> bool:
    with _tiny().tiny_builders():
        whole = _tiny().train(_prepared(folder, stage), range(6))
        first = _prepared(folder, stage)
        _tiny().train(first, range(3))
        first.save_checkpoint(f"{folder}/step_3", extra_ckpt={"meta": {"iter": 3}})
        second = _prepared(folder, stage)
        assert second.resume(f"{folder}/step_3")["meta"]["iter"] == 3
        rest = _tiny().train(second, range(3, 6))
        fresh = _prepared(folder, stage)
        fresh.load_checkpoint(f"{folder}/step_3")
        assert fresh.param_schedulers[0].steps == 0
        if dist.get_rank() == 1:
            return True
        return all(torch.equal(rest[name], whole[name]) for name in whole)


@needs_deepspeed
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_resumed_run_ends_with_the_same_bits(ranks: Any, tmp_path: Path, stage: int) -> None:
    assert ranks(_resumed, str(tmp_path), stage) == [True, True]
    assert (tmp_path / "step_3" / "manifest.json").is_file()


def _resume_into(folder: str, stage: int, widths: tuple[int, ...]) -> str:
    with _tiny().tiny_builders():
        _prepared(folder, stage).save_checkpoint(f"{folder}/run")
        try:
            _prepared(folder, stage, widths).resume(f"{folder}/run")
        except dist.StrategyConfigError as err:
            return str(err)
    return ""


@needs_deepspeed
@pytest.mark.parametrize("stage", [1, 3])
def test_a_folder_of_another_model_is_refused(ranks: Any, tmp_path: Path, stage: int) -> None:
    for text in ranks(_resume_into, str(tmp_path), stage, (4, 5, 2)):
        assert "layers.0.weight: (6, 4) in the checkpoint, (5, 4) in the model" in text
    for text in ranks(_resume_into, str(tmp_path), stage, (4, 6, 2, 2)):
        assert "layers.4.weight: missing" in text


def _from_file(folder: str, file: str, stage: int) -> Any:
    with _tiny().tiny_builders():
        strategy = _prepared(folder, stage)
        strategy.load_checkpoint(file)
        loaded = {name: copy.deepcopy(w) for name, w in strategy.model_state_dict().items()}
        _tiny().train(strategy, range(1))
        return loaded, strategy.model_state_dict()


@needs_deepspeed
@pytest.mark.parametrize("stage", [1, 3])
def test_weights_of_another_strategy_are_loaded(ranks: Any, tmp_path: Path, stage: int) -> None:
    weights = {name: torch.full_like(t, 0.1) for name, t in _alone(str(tmp_path), range(0)).items()}
    torch.save({"state_dict": weights}, tmp_path / "other.pth")
    loaded, stepped = ranks(_from_file, str(tmp_path), str(tmp_path / "other.pth"), stage)[0]
    for name, weight in weights.items():
        assert torch.equal(loaded[name], weight)
        assert 0 < (stepped[name] - weight).abs().max() < 0.02  # the step began from there


def test_without_deepspeed_the_error_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "deepspeed", None)
    with pytest.raises(dist.StrategyError, match=r"needs deepspeed 0\.19"):
        DeepSpeedStrategy()
