from __future__ import annotations

import sys
import types
from contextlib import contextmanager

import pytest
import torch

from drivetrain.optim import ApexOptimWrapper, OptimDependencyError


def test_without_apex_the_error_names_the_alternative(sgd, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "apex", None)
    with pytest.raises(OptimDependencyError, match="AmpOptimWrapper does the same"):
        ApexOptimWrapper(optimizer=sgd())


@pytest.fixture
def apex(monkeypatch) -> types.SimpleNamespace:
    """Stands for apex.amp: scales by 2 and, as Apex does, unscales in the optimizer's step."""
    calls: list[object] = []

    def initialize(model, optimizer, **settings):
        calls.append(settings)
        optimizer._amp_stash = object()
        return model, optimizer

    @contextmanager
    def scale_loss(loss, optimizer):
        yield loss * 2

    amp = types.SimpleNamespace(
        calls=calls,
        initialize=initialize,
        scale_loss=scale_loss,
        state_dict=lambda: {"loss_scale": 2.0},
        load_state_dict=calls.append,
    )
    monkeypatch.setitem(sys.modules, "apex", types.SimpleNamespace(amp=amp))
    monkeypatch.setitem(sys.modules, "apex.amp", amp)
    return amp


def test_apex_is_initialized_once_and_scales_the_loss(model, apex) -> None:
    wrapper = ApexOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.0), opt_level="O2"
    )
    for _ in range(2):
        with wrapper.optim_context(model):
            loss = model(torch.ones(1, 3)).sum()
        wrapper.backward(loss)
    assert [settings["opt_level"] for settings in apex.calls] == ["O2"]
    assert model[2].bias.grad == 4.0  # two passes, each scaled by 2
    assert wrapper.inner_count == 2


def test_the_state_of_apex_travels_with_the_optimizers(model, apex) -> None:
    wrapper = ApexOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    state = wrapper.state_dict()
    wrapper.load_state_dict(state)
    assert apex.calls == [{"loss_scale": 2.0}]
    assert "apex_amp" in state
