"""Optimizers of other libraries, where these are installed: built by name, stepped, resumed."""

from __future__ import annotations

import copy
import importlib.util
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain.optim import build_optim_wrapper, build_param_schedulers
from drivetrain.optim.torch_optimizers import THIRD_PARTY_OPTIMIZERS, torch_optimizers
from drivetrain.registry import OPTIMIZERS

SETTINGS: dict[str, dict[str, Any]] = {
    "Lion": {"lr": 1e-2},
    "DAdaptAdaGrad": {"lr": 1.0},
    "DAdaptAdam": {"lr": 1.0},
    "DAdaptAdan": {"lr": 1.0},
    "DAdaptLion": {"lr": 1.0},
    "DAdaptSGD": {"lr": 1.0},
    "TransformersAdafactor": {"lr": 1e-2, "relative_step": False},
    "AdamW8bit": {"lr": 1e-2},
    "SGD8bit": {"lr": 1e-2, "momentum": 0.9},
    "LAMB": {"lr": 1e-2},
}


def module_of(name: str) -> str:
    return THIRD_PARTY_OPTIMIZERS[name][0].split(".")[0]


@pytest.mark.parametrize("name", SETTINGS)
def test_an_optimizer_of_another_library_is_built_scheduled_and_resumed(name: str) -> None:
    if importlib.util.find_spec(module_of(name)) is None:
        pytest.skip(f"{module_of(name)} is not installed")
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    cfg = {"optimizer": {"type": name, **SETTINGS[name]}}
    wrapper = build_optim_wrapper(model, cfg)
    (schedule,) = build_param_schedulers({"type": "LinearLR", "end": 9, "by_epoch": False}, wrapper)

    def train(model: nn.Module, wrapper: Any) -> None:
        for _ in range(3):
            wrapper.update_params(model(torch.ones(2, 4)).pow(2).mean())

    before = model.weight.detach().clone()
    train(model, wrapper)
    schedule.step()
    assert not torch.equal(model.weight, before)
    assert type(wrapper.optimizer).__module__.split(".")[0] == module_of(name)
    lr = SETTINGS[name]["lr"]
    assert wrapper.get_lr()["lr"] == [pytest.approx(lr * (1 / 3 + 2 / 3 / 8))]

    other = copy.deepcopy(model)
    resumed = build_optim_wrapper(other, cfg)
    resumed.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    train(model, wrapper)
    train(other, resumed)
    torch.testing.assert_close(model.weight, other.weight)


def test_no_library_is_imported_before_its_optimizer_is_asked_for() -> None:
    libraries = sorted({module_of(name) for name in THIRD_PARTY_OPTIMIZERS})
    program = (
        "import sys\n"
        "from drivetrain.registry import OPTIMIZERS\n"
        "assert OPTIMIZERS.get('SGD') and OPTIMIZERS.get('Lion')\n"
        f"print([name for name in {libraries} if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert output.stdout.strip() == "[]", output.stderr


def test_no_name_is_that_of_an_optimizer_of_torch() -> None:
    assert not set(THIRD_PARTY_OPTIMIZERS) & set(torch_optimizers())
    assert OPTIMIZERS.get("Adafactor") is torch.optim.Adafactor
