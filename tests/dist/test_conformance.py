"""Every strategy does what a strategy must, and one that does not is told what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from drivetrain.dist import get_device
from drivetrain.dist.strategy import BaseStrategy, DDPStrategy, FSDPStrategy, SingleDeviceStrategy
from drivetrain.dist.testing import check_strategy

RANDOMNESS = {"randomness": {"seed": 3}}
FIRST = {"type": "MMFullyShardedDataParallel"}


class PlainStrategy(BaseStrategy):
    """What a user would write first: one device, nothing converted."""

    def convert_model(self, model: nn.Module) -> nn.Module:
        return model

    def wrap_model(self, model: nn.Module) -> nn.Module:
        return model.to(get_device())


class ForgetfulStrategy(SingleDeviceStrategy):
    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


def test_one_device(tmp_path: Path) -> None:
    for kind in (SingleDeviceStrategy, PlainStrategy):
        folder = str(tmp_path / kind.__name__)
        check_strategy(lambda: kind(work_dir=folder, env_kwargs=RANDOMNESS), folder)  # noqa: B023


def test_what_a_strategy_forgets_is_named(tmp_path: Path) -> None:
    folder = str(tmp_path)
    with pytest.raises(AssertionError, match="optimizer and random state must come back"):
        check_strategy(lambda: ForgetfulStrategy(work_dir=folder, env_kwargs=RANDOMNESS), folder)


def _check(kind: type[BaseStrategy], folder: str, options: dict[str, Any]) -> None:
    check_strategy(lambda: kind(work_dir=folder, env_kwargs=RANDOMNESS, **options), folder)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (DDPStrategy, {}),
        (DDPStrategy, {"model_wrapper": {"comm_hook": "bf16", "static_graph": True}}),
        (DDPStrategy, {"model_wrapper": FIRST}),
        (FSDPStrategy, {}),
        (FSDPStrategy, {"state_dict_cfg": "local"}),
        (FSDPStrategy, {"state_dict_cfg": "sharded"}),
        (FSDPStrategy, {"activation_checkpointing": {"classes": ["Linear"]}}),
    ],
    ids=str,
)
def test_two_ranks(ranks: Any, tmp_path: Path, kind: Any, options: dict[str, Any]) -> None:
    ranks(_check, kind, str(tmp_path), options)
