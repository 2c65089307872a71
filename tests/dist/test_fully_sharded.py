"""The first generation of sharding, by the name that configs have for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.fsdp import BackwardPrefetch, ShardingStrategy

from drivetrain import dist
from drivetrain.dist.strategy import DDPStrategy, SingleDeviceStrategy
from drivetrain.registry import FUNCTIONS, MODEL_WRAPPERS

SETTINGS = {"env_kwargs": {"randomness": {"seed": 7}}}


def _tiny() -> Any:
    import tiny_training

    return tiny_training


def _strategy(folder: str, sharded: bool, **options: Any) -> Any:
    if sharded:
        wrapper = {"type": "MMFullyShardedDataParallel", **options}
        strategy: Any = DDPStrategy(work_dir=folder, model_wrapper=wrapper, **SETTINGS)
    else:
        strategy = SingleDeviceStrategy(work_dir=folder, **SETTINGS)
    strategy.setup().prepare(
        _tiny().TinyModel(), optim_wrapper=_tiny().ADAMW, param_scheduler={"factor": 0.9}
    )
    return strategy


def _train(folder: str, sharded: bool, file: str | None, steps: range) -> dict[str, Tensor]:
    with _tiny().tiny_builders():
        policy = {"fsdp_auto_wrap_policy": "one_layer_a_part"}
        FUNCTIONS.register_module(name="one_layer_a_part", module=_policy, force=True)
        strategy = _strategy(folder, sharded, **(policy if sharded else {}))
        if file is not None and Path(file).exists():
            strategy.resume(file)
        weights = _tiny().train(strategy, steps)
        if file is not None and not Path(file).exists():
            strategy.save_checkpoint(file)
        assert sharded or strategy.model.val_step(_tiny().batch(0)).shape == (8, 2)
        return weights


def _policy(module: Any, recurse: bool, nonwrapped_numel: int) -> bool:
    return recurse or isinstance(module, torch.nn.Linear)


@pytest.fixture(autouse=True)
def _clean() -> Any:
    yield
    FUNCTIONS.module_dict.pop("one_layer_a_part", None)


def _close(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, weight in second.items():
        torch.testing.assert_close(first[name], weight, rtol=0, atol=1e-6)


def test_training_ends_where_one_process_ends(ranks: Any, tmp_path: Path) -> None:
    weights, nothing = ranks(_train, str(tmp_path), True, None, range(3))
    assert not nothing
    _close(weights, _train(str(tmp_path), False, None, range(3)))


def test_checkpoints_are_whole_and_go_both_ways(ranks: Any, tmp_path: Path) -> None:
    expected = _train(str(tmp_path), False, None, range(5))
    sharded, single = str(tmp_path / "sharded.pth"), str(tmp_path / "single.pth")
    ranks(_train, str(tmp_path), True, sharded, range(3))
    _train(str(tmp_path), False, single, range(3))
    for file in (sharded, single):
        _close(_train(str(tmp_path), False, file, range(3, 5)), expected)
        _close(ranks(_train, str(tmp_path), True, file, range(3, 5))[0], expected)


def _arguments() -> tuple[Any, ...]:
    wrapped = MODEL_WRAPPERS.build(
        {
            "type": "MMFullyShardedDataParallel",
            "module": _tiny().TinyModel(),
            "fsdp_auto_wrap_policy": "default_auto_wrap_policy",
            "backward_prefetch": "post",
            "sharding_strategy": "shard_grad_op",
            "mixed_precision": {"param_dtype": "bfloat16"},
            "cpu_offload": False,
        }
    )
    data = _tiny().batch(0)
    output = wrapped.test_step(data)
    return (
        wrapped.sharding_strategy is ShardingStrategy.SHARD_GRAD_OP,
        wrapped.backward_prefetch is BackwardPrefetch.BACKWARD_POST,
        wrapped.mixed_precision.param_dtype,
        output.shape,
        dist.is_model_wrapper(wrapped),
    )


def test_arguments_come_as_a_config_has_them(ranks: Any) -> None:
    assert ranks(_arguments) == [(True, True, torch.bfloat16, (8, 2), True)] * 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"fsdp_auto_wrap_policy": "by_magic"}, "no function 'by_magic'"),
        ({"backward_prefetch": "never"}, "'pre' or 'post', got 'never'"),
        ({"sharding_strategy": "half"}, "FULL_SHARD"),
    ],
)
def test_a_misspelt_argument_is_named(options: dict[str, Any], text: str) -> None:
    wrapper = MODEL_WRAPPERS.get("MMFullyShardedDataParallel")
    with pytest.raises(dist.WrapperError, match=text):
        wrapper(_tiny().TinyModel(), **options)
