from __future__ import annotations

import pytest
import torch
from torch import nn

from drivetrain.optim import (
    AmbiguousUpdateError,
    OptimStateError,
    OptimTypeError,
    OptimWrapper,
    OptimWrapperDict,
)


@pytest.fixture
def pair() -> OptimWrapperDict:
    make = lambda lr: OptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=lr))  # noqa: E731
    return OptimWrapperDict(gen=make(0.1), disc=make(0.2))


def test_it_reads_like_a_dict(pair) -> None:
    assert list(pair.keys()) == ["gen", "disc"]
    assert [value for _, value in pair.items()] == list(pair.values())
    assert "gen" in pair
    assert len(pair) == 2
    assert pair["disc"].get_lr() == {"lr": [0.2]}


def test_rates_and_momenta_carry_the_names(pair) -> None:
    assert pair.get_lr() == {"gen.lr": [0.1], "disc.lr": [0.2]}
    assert pair.get_momentum() == {"gen.momentum": [0], "disc.momentum": [0]}
    assert list(pair.param_groups) == ["gen", "disc"]


def test_the_state_of_all_is_saved_and_restored(pair) -> None:
    state = pair.state_dict()
    pair["gen"].optimizer.param_groups[0]["lr"] = 9.0
    pair.load_state_dict(state)
    assert pair.get_lr()["gen.lr"] == [0.1]


def test_a_state_with_an_unknown_name_loads_nothing(pair) -> None:
    state = {**pair.state_dict(), "dics": {}}
    pair["gen"].optimizer.param_groups[0]["lr"] = 9.0
    with pytest.raises(OptimStateError, match="Did you mean 'disc'"):
        pair.load_state_dict(state)
    assert pair.get_lr()["gen.lr"] == [9.0]


@pytest.mark.parametrize("call", ["update_params", "backward", "optim_context"])
def test_what_only_one_optimizer_can_do_says_which_to_ask(pair, call) -> None:
    with pytest.raises(AmbiguousUpdateError, match=rf"optim_wrapper\['gen'\].{call}"):
        getattr(pair, call)(torch.zeros(1))
    with pytest.raises(NotImplementedError):
        pair.step()


def test_gradients_of_all_are_cleared(pair) -> None:
    for wrapper in pair.values():
        for param in wrapper.optimizer.param_groups[0]["params"]:
            param.grad = torch.ones_like(param)
    pair.zero_grad()
    groups = [group for groups in pair.param_groups.values() for group in groups]
    assert all(param.grad is None for group in groups for param in group["params"])


def test_a_member_that_is_no_wrapper_is_refused() -> None:
    with pytest.raises(OptimTypeError, match="'gen' must be an optimizer wrapper, got SGD"):
        OptimWrapperDict(gen=torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1))
