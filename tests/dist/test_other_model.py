"""Resuming with a model that is not the run's is refused by every strategy, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drivetrain import dist
from drivetrain.dist.strategy import DDPStrategy, FSDPStrategy, SingleDeviceStrategy

FIRST_GENERATION = {"model_wrapper": {"type": "MMFullyShardedDataParallel"}}
STRATEGIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "single": (SingleDeviceStrategy, {}),
    "ddp": (DDPStrategy, {}),
    "full": (FSDPStrategy, {}),
    "sharded": (FSDPStrategy, {"state_dict_cfg": "sharded"}),
    "local": (FSDPStrategy, {"state_dict_cfg": "local"}),
    "recomputed": (FSDPStrategy, {"activation_checkpointing": {"names": [r"layers\.[02]"]}}),
    "fsdp1": (FSDPStrategy, FIRST_GENERATION),
    "fsdp1 by ddp": (DDPStrategy, FIRST_GENERATION),
}


def _tiny() -> Any:
    import tiny_training

    return tiny_training


def _resumed(name: str, folder: str, widths: tuple[int, ...], load_only: bool) -> Any:
    """What a run of one model's checkpoint says to another model."""
    kind, options = STRATEGIES[name]

    def equal(first: Any, second: Any) -> bool:
        return first.shape == second.shape and bool((first == second).all())

    def prepared(widths: tuple[int, ...]) -> Any:
        strategy = kind(work_dir=folder, env_kwargs={"randomness": {"seed": 7}}, **options)
        strategy.setup().prepare(_tiny().TinyModel(widths), optim_wrapper=_tiny().ADAMW)
        return strategy

    with _tiny().tiny_builders():
        run = prepared((4, 8, 2))
        _tiny().train(run, range(1))
        run.save_checkpoint(f"{folder}/run")
        other = prepared(widths)
        try:
            (other.load_checkpoint if load_only else other.resume)(f"{folder}/run")
        except dist.DistError as err:
            return type(err).__name__, str(err)
        expected, found = run.model_state_dict(), other.model_state_dict()
        return {name: equal(found[name], w) for name, w in expected.items() if w is not None}


def _on_its_ranks(ranks: Any, name: str, *args: Any) -> list[Any]:
    return [_resumed(name, *args)] if name == "single" else ranks(_resumed, name, *args)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_resumed_model_of_other_widths_is_refused(ranks: Any, tmp_path: Path, name: str) -> None:
    for kind, text in _on_its_ranks(ranks, name, str(tmp_path), (4, 6, 2), False):
        assert kind == "StrategyConfigError"
        assert "resume: TinyModel is another model than in the checkpoint" in text
        assert "layers.0.weight: (8, 4) in the checkpoint, (6, 4) in the model" in text


@pytest.mark.parametrize("name", ["full", "local", "fsdp1"])
def test_a_resumed_model_with_more_layers_is_refused(ranks: Any, tmp_path: Path, name: str) -> None:
    for kind, text in _on_its_ranks(ranks, name, str(tmp_path), (4, 8, 2, 2), False):
        assert kind == "StrategyConfigError"
        assert "layers.4.weight: missing" in text


@pytest.mark.parametrize("name", ["single", "full", "sharded", "fsdp1"])
def test_weights_that_fit_can_be_loaded_into_another_model(
    ranks: Any, tmp_path: Path, name: str
) -> None:
    fits = _on_its_ranks(ranks, name, str(tmp_path), (4, 8, 3), True)[0]
    assert fits.pop("layers.0.weight")
    assert fits.pop("layers.0.bias")
    assert not any(fits.values())


def test_a_model_of_the_same_names_in_which_no_shape_fits_is_refused(tmp_path: Path) -> None:
    kind, text = _resumed("single", str(tmp_path), (3, 7, 5), True)
    assert kind == "StrategyConfigError"
    assert text.startswith("TinyModel is another model than in the checkpoint.")
    assert "layers.0.weight: (8, 4) in the checkpoint, (7, 3) in the model" in text
