"""The guide's chapters on optimizer wrappers and on schedules, example by example."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drivetrain.optim import (
    DefaultOptimWrapperConstructor,
    OptimWrapperDict,
    build_optim_wrapper,
    build_param_schedulers,
)
from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS


class ToyModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.ModuleDict({"layer0": nn.Linear(1, 1), "layer1": nn.Linear(1, 1)})
        self.linear1 = nn.Linear(1, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear1(self.block["layer1"](self.block["layer0"](inputs)))


@pytest.mark.parametrize(
    "cfg",
    [
        {"type": "OptimWrapper"},
        {"type": "AmpOptimWrapper", "accumulative_counts": 4},
        {"type": "AmpOptimWrapper", "dtype": "bfloat16"},
        {"clip_grad": {"max_norm": 1}},
        {"clip_grad": {"clip_value": 0.2}},
    ],
    ids=str,
)
def test_one_loop_trains_with_every_wrapper(cfg) -> None:
    model = ToyModel()
    wrapper = build_optim_wrapper(model, {**cfg, "optimizer": {"type": "SGD", "lr": 0.01}})
    before = model.linear1.weight.clone()
    for batch in torch.rand(4, 2, 1):
        with wrapper.optim_context(model):
            loss = model(batch).float().sum()
        wrapper.update_params(loss)
    assert not torch.equal(before, model.linear1.weight)


def test_settings_by_a_part_of_the_name() -> None:
    custom = {"block.layer0": {"lr_mult": 0.1, "decay_mult": 0}, "linear": {"lr_mult": 0}}
    wrapper = build_optim_wrapper(
        ToyModel(),
        {
            "optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 0.5},
            "paramwise_cfg": {"custom_keys": custom},
        },
    )
    groups = wrapper.optimizer.param_groups
    rates = [round(group["lr"], 6) for group in groups]
    assert rates == [0.01, 0.01, 0.1, 0.1, 0, 0]
    assert [group["weight_decay"] for group in groups] == [0, 0, 0.5, 0.5, 0.5, 0.5]


def test_a_constructor_of_your_own_decays_the_rate_by_depth() -> None:
    @OPTIM_WRAPPER_CONSTRUCTORS.register_module(name="TestByDepth", force=True)
    class ByDepth(DefaultOptimWrapperConstructor):
        def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
            super().__init__(optim_wrapper_cfg, paramwise_cfg=None)
            self.decay_factor = paramwise_cfg.get("decay_factor", 0.5)
            super().__init__(optim_wrapper_cfg, paramwise_cfg)

        def add_params(self, params, module, prefix="", lr=None):
            lr = self.base_lr if lr is None else lr
            for _, param in module.named_parameters(recurse=False):
                params.append({"params": [param], "lr": lr})
            for name, child in module.named_children():
                self.add_params(params, child, f"{prefix}.{name}", lr * self.decay_factor)

    cfg = {"constructor": "TestByDepth", "paramwise_cfg": {"decay_factor": 0.5}}
    wrapper = build_optim_wrapper(ToyModel(), {**cfg, "optimizer": {"type": "SGD", "lr": 1.0}})
    assert wrapper.get_lr()["lr"] == [0.25] * 4 + [0.5] * 2


def test_two_optimizers_have_their_rates_and_schedules_by_name() -> None:
    node = {"optimizer": {"type": "SGD", "lr": 0.01}}
    wrappers = OptimWrapperDict(
        gen=build_optim_wrapper(nn.Linear(1, 1), node),
        disc=build_optim_wrapper(nn.Linear(1, 1), node),
    )
    schedulers = build_param_schedulers(
        {
            "gen": {"type": "MultiStepLR", "milestones": [1], "gamma": 0.1},
            "disc": {"type": "LinearLR", "start_factor": 0.5, "end": 3},
        },
        wrappers,
        max_epochs=3,
    )
    assert wrappers.get_lr() == {"gen.lr": [0.01], "disc.lr": [0.005]}
    schedulers["gen"][0].step()
    assert wrappers.get_lr()["gen.lr"] == [pytest.approx(0.001)]


def test_a_warmup_by_iteration_before_a_cosine_by_epoch() -> None:
    wrapper = build_optim_wrapper(nn.Linear(1, 1), {"optimizer": {"type": "SGD", "lr": 1.0}})
    warmup, cosine = build_param_schedulers(
        [
            {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 5},
            {
                "type": "CosineAnnealingLR",
                "T_max": 2,
                "begin": 1,
                "end": 3,
                "convert_to_iter_based": True,
            },
        ],
        wrapper,
        epoch_length=5,
        max_epochs=3,
    )
    rates = []
    for _ in range(15):
        rates.append(wrapper.get_lr()["lr"][0])
        warmup.step()
        cosine.step()
    assert rates[0] == pytest.approx(0.1)
    assert rates[4] == pytest.approx(1.0)
    assert rates[10] == pytest.approx(0.5)
    assert rates[5:] == sorted(rates[5:], reverse=True)
