"""Numbers that are none, and options that nothing reads, are refused where they are given."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from drivetrain.optim import (
    CosineAnnealingLR,
    ExponentialLR,
    MultiStepLR,
    OneCycleLR,
    OptimArgumentError,
    OptimTypeError,
    OptimWrapper,
    ParamwiseError,
    PolyLR,
    ScheduleError,
    build_optim_wrapper,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("optimizer", "key"),
    [
        ({"type": "SGD", "lr": NAN}, "'lr'"),
        ({"type": "SGD", "lr": math.inf}, "'lr'"),
        ({"type": "SGD", "lr": 0.1, "weight_decay": NAN}, "'weight_decay'"),
    ],
    ids=["nan", "inf", "decay"],
)
def test_a_setting_that_is_no_number_is_refused_with_its_group(optimizer, key) -> None:
    with pytest.raises(OptimArgumentError, match=f"{key} of parameter group 0 is (nan|inf)"):
        build_optim_wrapper(nn.Linear(2, 1), {"optimizer": optimizer})


@pytest.mark.parametrize(
    ("rules", "place"),
    [
        ({"bias_lr_mult": "x"}, r"paramwise_cfg\.bias_lr_mult"),
        ({"norm_decay_mult": NAN}, r"paramwise_cfg\.norm_decay_mult"),
        ({"custom_keys": {"bias": {"lr_mult": NAN}}}, r"custom_keys\['bias'\]\.lr_mult"),
    ],
    ids=["text", "nan", "custom"],
)
def test_a_factor_that_is_no_number_is_refused_with_its_place(rules, place) -> None:
    cfg = {"optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 0.1}, "paramwise_cfg": rules}
    with pytest.raises(ParamwiseError, match=f"{place} must be a finite number"):
        build_optim_wrapper(nn.Linear(2, 1), cfg)


@pytest.mark.parametrize(
    ("clip_grad", "error", "text"),
    [
        ({"max_norm": "1"}, OptimTypeError, "'max_norm' must be a number, got str"),
        ({"max_norm": 1, "norm_typ": 2}, OptimArgumentError, "Did you mean 'norm_type'"),
        (
            {"clip_value": 1, "norm_type": 2},
            OptimArgumentError,
            "by value has no option",
        ),
    ],
    ids=["text", "misspelt", "of the other kind"],
)
def test_clipping_that_cannot_work_fails_before_the_first_step(clip_grad, error, text) -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    with pytest.raises(error, match=text):
        OptimWrapper(optimizer, clip_grad=clip_grad)


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        (CosineAnnealingLR, {"T_max": 5, "eta_min": NAN}, "eta_min must be a number"),
        (ExponentialLR, {"gamma": NAN}, "gamma must be a number"),
        (PolyLR, {"power": NAN, "end": 5}, "power must be a number"),
        (OneCycleLR, {"eta_max": NAN, "total_steps": 5}, "must be numbers, got nan"),
        (MultiStepLR, {"milestones": 3}, "milestones must be a list of integers, got 3"),
    ],
)
def test_a_schedule_of_no_numbers_leaves_the_optimizer_as_it_was(kind, options, text) -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    before = dict(optimizer.param_groups[0])
    with pytest.raises(ScheduleError, match=text):
        kind(optimizer, **options)
    assert optimizer.param_groups[0] == before
