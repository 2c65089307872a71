"""What cannot work is refused with its place and a remedy, and leaves everything as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from drivetrain.optim import (
    LossError,
    OneCycleMomentum,
    OptimArgumentError,
    OptimTypeError,
    OptimWrapper,
    ParamGroupKeyError,
    ScheduleError,
    StepLR,
    build_optim_wrapper,
    preview,
)
from drivetrain.registry import PARAM_SCHEDULERS


def sgd(**settings: float) -> torch.optim.SGD:
    return torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1, **settings)


@pytest.mark.parametrize(
    ("loss", "error", "text"),
    [
        (1.0, OptimTypeError, "must be a scalar tensor, got float"),
        ({"loss": 1.0}, OptimTypeError, "must be a scalar tensor, got dict"),
        (torch.ones(()), LossError, "has no graph"),
        (torch.ones(2, requires_grad=True), LossError, "Take its mean or sum"),
    ],
)
def test_a_wrong_loss_is_refused_and_not_counted(loss, error, text) -> None:
    wrapper = OptimWrapper(sgd(), accumulative_counts=2)
    with pytest.raises(error, match=text):
        wrapper.update_params(loss)
    assert wrapper.inner_count == 0


def test_samples_of_a_failed_pass_do_not_weigh_in_the_next_update() -> None:
    wrapper = OptimWrapper(sgd(), accumulative_counts=2)
    loss = torch.ones(())
    loss.num_samples = 5
    with pytest.raises(LossError):
        wrapper.update_params(loss)
    assert wrapper._samples.counted == 0


def test_clipping_in_two_ways_is_refused() -> None:
    with pytest.raises(OptimArgumentError, match=r"by norm .* or by value .*, not by both"):
        OptimWrapper(sgd(), clip_grad={"max_norm": 1, "clip_value": 2})


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ({"type": "ReduceOnPlateauLR", "patience": -1}, "patience counts .* got -1"),
        ({"type": "ReduceOnPlateauLR", "cooldown": -2}, "cooldown counts .* got -2"),
        ({"type": "ReduceOnPlateauLR", "factor": -0.5}, "factor must be below 1, .* got -0.5"),
        ({"type": "OneCycleLR", "total_steps": 4, "div_factor": 0}, "div_factor must be above 0"),
        (
            {"type": "OneCycleLR", "total_steps": 4, "final_div_factor": -1},
            "final_div_factor must be above 0, got -1",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_counts_and_divisors_that_cannot_be_are_refused(node, text) -> None:
    optimizer = sgd()
    before = copy.deepcopy(optimizer.param_groups[0])
    with pytest.raises(ValueError, match=text):
        PARAM_SCHEDULERS.build({"optimizer": optimizer, **node})
    assert optimizer.param_groups[0].keys() == before.keys()


@pytest.mark.parametrize("clip_grad", [{"max_norm": -1}, {"clip_value": -0.1}])
def test_a_negative_limit_of_gradients_is_refused(clip_grad) -> None:
    with pytest.raises(OptimArgumentError, match="must not be negative"):
        OptimWrapper(sgd(), clip_grad=clip_grad)


@pytest.mark.parametrize("counts", [(-1, 5), (0, -5)])
def test_negative_counts_of_passes_are_refused(counts) -> None:
    wrapper = OptimWrapper(sgd())
    with pytest.raises(OptimArgumentError, match="initialize_count_status"):
        wrapper.initialize_count_status(nn.Linear(1, 1), *counts)


@pytest.mark.parametrize("lengths", [{"steps": -1}, {"steps": 1, "epoch_length": 0}])
def test_a_preview_of_negative_length_is_refused(lengths) -> None:
    with pytest.raises(ScheduleError, match="preview"):
        preview(StepLR(sgd(), step_size=1), **lengths)


@pytest.mark.parametrize(
    ("node", "error"),
    [
        ({"type": "StepLR", "step_size": -3}, ScheduleError),
        ({"type": "MultiStepLR", "milestones": [-1, 2]}, ScheduleError),
        ({"type": "StepMomentum", "step_size": -3}, ScheduleError),
        ({"type": "LinearMomentum", "begin": 3, "end": 2}, ScheduleError),
        ({"type": "OneCycleLR", "eta_max": [1, 2], "total_steps": 9}, ScheduleError),
        ({"type": "OneCycleLR", "eta_max": 1, "total_steps": 9, "begin": -1}, ScheduleError),
        (
            {"type": "OneCycleParamScheduler", "param_name": "no", "eta_max": 1, "total_steps": 9},
            ParamGroupKeyError,
        ),
        ({"type": "LinearParamScheduler", "param_name": "weigt_decay"}, ParamGroupKeyError),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else None,
)
def test_a_refused_schedule_leaves_the_groups_as_they_were(node, error) -> None:
    optimizer = torch.optim.Adam(nn.Linear(2, 1).parameters(), lr=0.1)
    before = [copy.copy(group) for group in optimizer.param_groups]
    with pytest.raises(error):
        PARAM_SCHEDULERS.build({**node, "optimizer": optimizer})
    assert optimizer.param_groups == before


def test_the_momentum_runs_a_cycle_down_and_up_again() -> None:
    optimizer = torch.optim.Adam(nn.Linear(2, 1).parameters(), betas=(0.95, 0.999))
    scheduler = OneCycleMomentum(
        optimizer, eta_max=0.85, div_factor=0.85 / 0.95, final_div_factor=1, total_steps=10
    )
    betas = []
    for _ in range(10):
        betas.append(round(optimizer.param_groups[0]["betas"][0], 4))
        scheduler.step()
    torch_cycle = torch.optim.Adam(nn.Linear(2, 1).parameters(), betas=(0.95, 0.999))
    theirs = torch.optim.lr_scheduler.OneCycleLR(torch_cycle, max_lr=1, total_steps=10)
    expected = []
    for step in range(10):
        expected.append(round(torch_cycle.param_groups[0]["betas"][0], 4))
        torch_cycle.step()
        if step < 9:
            theirs.step()
    assert betas == expected


def test_the_bias_of_a_depthwise_convolution_follows_its_own_rule_first() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))
    decays = []
    for rules in ({"bias_decay_mult": 0.5, "dwconv_decay_mult": 0.1}, {"bias_decay_mult": 0.5}):
        cfg = {"optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 1.0}}
        wrapper = build_optim_wrapper(model, {**cfg, "paramwise_cfg": rules})
        decays.append([group["weight_decay"] for group in wrapper.optimizer.param_groups])
    assert decays == [[0.1, 0.1], [1.0, 0.5]]
