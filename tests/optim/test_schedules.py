from __future__ import annotations

import io
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler as torch_schedules

from drivetrain import optim
from drivetrain.optim import (
    INF,
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    LinearLR,
    LinearMomentum,
    LinearParamScheduler,
    MultiStepLR,
    OneCycleLR,
    OptimStateError,
    OptimTypeError,
    OptimWrapper,
    ParamGroupKeyError,
    PolyLR,
    ReduceOnPlateauLR,
    ScheduleError,
    StepLR,
)


def optimizer(*rates: float, **settings) -> torch.optim.SGD:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in rates or (1.0,)]
    return torch.optim.SGD(groups, lr=1.0, **settings)


def curve(schedules, steps: int, key: str = "lr") -> list[float]:
    """Return the value of the first group at steps 0, 1, ..."""
    schedules = schedules if isinstance(schedules, list) else [schedules]
    group = schedules[0].optimizer.param_groups[0]
    values = []
    for _ in range(steps):
        values.append(group[key])
        for schedule in schedules:
            schedule.step()
    return values


def torch_curve(schedule, steps: int) -> list[float]:
    values = []
    for _ in range(steps):
        values.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return values


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            lambda o: StepLR(o, step_size=3, gamma=0.5),
            lambda o: torch_schedules.StepLR(o, 3, gamma=0.5),
        ),
        (
            lambda o: MultiStepLR(o, milestones=[2, 5, 5], gamma=0.5),
            lambda o: torch_schedules.MultiStepLR(o, [2, 5, 5], gamma=0.5),
        ),
        (
            lambda o: ConstantLR(o, factor=0.25, end=6),
            lambda o: torch_schedules.ConstantLR(o, factor=0.25, total_iters=5),
        ),
        (lambda o: ExponentialLR(o, gamma=0.9), lambda o: torch_schedules.ExponentialLR(o, 0.9)),
        (
            lambda o: CosineAnnealingLR(o, T_max=5, eta_min=0.1),
            lambda o: torch_schedules.CosineAnnealingLR(o, 5, eta_min=0.1),
        ),
        (
            lambda o: LinearLR(o, start_factor=0.1, end_factor=0.8, end=8),
            lambda o: torch_schedules.LinearLR(o, 0.1, 0.8, total_iters=7),
        ),
        (
            lambda o: PolyLR(o, power=2.0, end=9),
            lambda o: torch_schedules.PolynomialLR(o, total_iters=8, power=2.0),
        ),
        (
            lambda o: OneCycleLR(o, eta_max=2.0, total_steps=20),
            lambda o: torch_schedules.OneCycleLR(o, 2.0, total_steps=20, cycle_momentum=False),
        ),
        (
            lambda o: OneCycleLR(
                o, eta_max=2.0, total_steps=20, three_phase=True, anneal_strategy="linear"
            ),
            lambda o: torch_schedules.OneCycleLR(
                o,
                2.0,
                total_steps=20,
                cycle_momentum=False,
                three_phase=True,
                anneal_strategy="linear",
            ),
        ),
    ],
    ids=[
        "step",
        "multi_step",
        "constant",
        "exponential",
        "cosine",
        "linear",
        "poly",
        "one_cycle",
        "one_cycle_3",
    ],
)
def test_values_equal_those_of_torch(ours, theirs) -> None:
    """torch.optim.lr_scheduler, where it has the same schedule."""
    steps = 20
    expected = torch_curve(theirs(optimizer(0.7)), steps - 1)
    assert curve(ours(optimizer(0.7)), steps - 1) == pytest.approx(expected, rel=1e-9, abs=1e-12)


lengths = st.integers(2, 40)
begins = st.integers(0, 10)
factors = st.floats(0.01, 1.0)


def clamp(step: int, begin: int, length: int) -> int:
    return min(max(step - begin, 0), length - 1)


@given(begin=begins, length=lengths, start=factors, end=factors)
def test_linear_has_its_closed_form(begin, length, start, end) -> None:
    schedule = LinearLR(
        optimizer(), start_factor=start, end_factor=end, begin=begin, end=begin + length
    )
    for step, value in enumerate(curve(schedule, begin + length + 3)):
        t = clamp(step, begin, length)
        expected = 1.0 if step < begin else start + (end - start) * t / (length - 1)
        assert value == pytest.approx(expected)


@given(begin=begins, length=lengths, power=st.floats(0.5, 3.0), floor=st.floats(0.0, 0.5))
def test_poly_has_its_closed_form(begin, length, power, floor) -> None:
    schedule = PolyLR(optimizer(), eta_min=floor, power=power, begin=begin, end=begin + length)
    for step, value in enumerate(curve(schedule, begin + length + 3)):
        t = clamp(step, begin, length)
        expected = floor + (1 - floor) * (1 - t / (length - 1)) ** power
        assert value == pytest.approx(expected, abs=1e-9)


@given(begin=begins, period=st.integers(1, 20), length=lengths, floor=st.floats(0.0, 0.5))
def test_cosine_has_its_closed_form_also_beyond_the_bottom(begin, period, length, floor) -> None:
    schedule = CosineAnnealingLR(
        optimizer(), T_max=period, eta_min=floor, begin=begin, end=begin + length
    )
    for step, value in enumerate(curve(schedule, begin + length + 3)):
        t = clamp(step, begin, length)
        expected = floor + (1 - floor) * (1 + math.cos(math.pi * t / period)) / 2
        assert value == pytest.approx(expected, abs=1e-7)


@given(begin=begins, length=lengths, size=st.integers(1, 9), gamma=factors)
def test_steps_and_milestones_have_their_closed_forms(begin, length, size, gamma) -> None:
    end = begin + length
    milestones = list(range(size, length, size))
    by_size = StepLR(optimizer(), step_size=size, gamma=gamma, begin=begin, end=end)
    by_list = MultiStepLR(optimizer(), milestones=milestones, gamma=gamma, begin=begin, end=end)
    expected = [gamma ** (clamp(step, begin, length) // size) for step in range(end + 3)]
    assert curve(by_size, end + 3) == pytest.approx(expected)
    assert curve(by_list, end + 3) == pytest.approx(expected)


@given(
    periods=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.1, 1.0), min_size=4, max_size=4),
)
def test_restarts_have_their_closed_form(periods, weights) -> None:
    weights = weights[: len(periods)]
    schedule = CosineRestartLR(optimizer(), periods=periods, restart_weights=weights, eta_min=0.05)
    values = iter(curve(schedule, sum(periods) + 3))
    expected = math.nan
    for period, weight in zip(periods, weights, strict=True):
        for t in range(period):
            expected = 0.05 + (weight - 0.05) * (1 + math.cos(math.pi * t / period)) / 2
            assert next(values) == pytest.approx(expected)
    assert list(values) == pytest.approx([expected] * 3)


def test_restarts_combine_with_other_schedules_within_a_period() -> None:
    """The numbers are those of mmengine 0.10.7: a restart goes back to the initial value."""
    optim = optimizer(0.1)
    schedules = [
        StepLR(optim, step_size=2),
        CosineRestartLR(optim, periods=[4, 4], restart_weights=[0.5, 0.2], eta_min=0.0),
    ]
    values = []
    for _ in range(10):
        values.append(optim.param_groups[0]["lr"])
        for schedule in schedules:
            schedule.step()
    expected = [0.05, 0.0426776695, 0.0025, 0.000732233047, 0.02, 0.0170710678, 0.001]
    assert values == pytest.approx([*expected, 0.000292893219, 0.0000292893219, 0.0000292893219])


def test_restarts_to_a_share_of_the_initial_value() -> None:
    schedule = CosineRestartLR(
        optimizer(2.0), periods=[2, 2], restart_weights=[1, 0.5], eta_min_ratio=0.1
    )
    assert curve(schedule, 4) == pytest.approx([2.0, 1.1, 1.0, 0.6])


def test_cosine_to_a_share_of_the_initial_value() -> None:
    schedule = CosineAnnealingLR(optimizer(2.0), T_max=2, eta_min_ratio=0.1)
    assert curve(schedule, 3) == pytest.approx([2.0, 1.1, 0.2])


def test_warm_up_from_zero_works() -> None:
    assert curve(LinearLR(optimizer(2.0), start_factor=0, end=5), 6) == pytest.approx(
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]
    )


def test_a_range_of_one_step_leaves_nothing_behind() -> None:
    assert curve(LinearLR(optimizer(), start_factor=0.1, end=1), 3) == [1.0] * 3
    assert curve(ConstantLR(optimizer(), factor=0.1, end=1), 3) == [1.0] * 3


def test_a_warm_up_hands_over_to_a_cosine() -> None:
    sgd = optimizer(2.0)
    schedules = [
        LinearLR(sgd, start_factor=0.5, begin=0, end=4),
        CosineAnnealingLR(sgd, T_max=4, begin=4, end=8),
    ]
    half = [2.0 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)]
    assert curve(schedules, 8) == pytest.approx([1.0, 4 / 3, 5 / 3, 2.0, *half])


def test_overlapping_schedules_multiply() -> None:
    sgd = optimizer()
    schedules = [ExponentialLR(sgd, gamma=0.9), MultiStepLR(sgd, milestones=[2], gamma=0.5)]
    assert curve(schedules, 4) == pytest.approx([1.0, 0.9, 0.405, 0.3645])


def test_each_group_is_scheduled_from_its_own_value() -> None:
    wrapper = OptimWrapper(optimizer(1.0, 0.1))
    schedule = StepLR(wrapper, step_size=1, gamma=0.5)
    schedule.step()
    assert schedule.get_last_value() == wrapper.get_lr()["lr"] == [0.5, 0.05]


def test_any_key_of_the_groups_can_be_scheduled() -> None:
    sgd = optimizer(weight_decay=0.5)
    schedule = LinearParamScheduler(sgd, param_name="weight_decay", start_factor=0.1, end=3)
    assert curve(schedule, 3, "weight_decay") == pytest.approx([0.05, 0.275, 0.5])


def test_momentum_of_sgd_and_betas_of_adam_are_scheduled() -> None:
    sgd = optimizer(momentum=0.8)
    assert curve(LinearMomentum(sgd, start_factor=0.5, end=3), 3, "momentum") == pytest.approx(
        [0.4, 0.6, 0.8]
    )
    adam = torch.optim.Adam([nn.Parameter(torch.ones(1))], betas=(0.8, 0.99))
    assert [
        betas[0] for betas in curve(LinearMomentum(adam, start_factor=0.5, end=3), 3, "betas")
    ] == (pytest.approx([0.4, 0.6, 0.8]))
    assert adam.param_groups[0]["betas"][1] == 0.99


def test_a_learning_rate_in_a_tensor_stays_that_tensor() -> None:
    rate = torch.tensor(1.0)
    adam = torch.optim.Adam([nn.Parameter(torch.ones(1))], lr=rate, capturable=False)
    schedule = ExponentialLR(adam, gamma=0.5)
    held = adam.param_groups[0]["lr"]
    schedule.step()
    assert adam.param_groups[0]["lr"] is held
    assert held == 0.5


CASES = {
    "StepLR": {"step_size": 2},
    "MultiStepLR": {"milestones": [2, 4]},
    "ConstantLR": {"end": 7},
    "ExponentialLR": {"gamma": 0.9},
    "CosineAnnealingLR": {"T_max": 6},
    "CosineRestartLR": {"periods": [3, 5], "restart_weights": [1, 0.5], "eta_min": 0.0},
    "LinearLR": {"end": 8},
    "PolyLR": {"end": 10},
    "OneCycleLR": {"eta_max": 1.0, "total_steps": 12},
}
MOMENTUM_CASES = {name.replace("LR", "Momentum"): arguments for name, arguments in CASES.items()}


@pytest.mark.parametrize(("name", "arguments"), [*CASES.items(), *MOMENTUM_CASES.items()])
@given(stop=st.integers(0, 11), begin=st.integers(0, 4), as_json=st.booleans())
def test_a_restored_schedule_goes_on_as_if_it_had_never_stopped(
    name, arguments, stop, begin, as_json
) -> None:
    arguments = {**arguments, "begin": begin, "end": arguments.get("end", INF) + begin}
    make = lambda: OptimWrapper(optimizer(1.0, 0.3, momentum=0.9))  # noqa: E731
    values = lambda wrapper: (wrapper.get_lr(), wrapper.get_momentum())  # noqa: E731
    kind = getattr(optim, name)
    whole = make()
    schedule = kind(whole, **arguments)
    for _ in range(stop):
        schedule.step()
    file = io.BytesIO()
    torch.save([whole.state_dict(), schedule.state_dict()], file)
    file.seek(0)

    resumed = make()
    continued = kind(resumed, **arguments)
    wrapper_state, schedule_state = torch.load(file, weights_only=True)
    resumed.load_state_dict(wrapper_state)
    continued.load_state_dict(json.loads(json.dumps(schedule_state)) if as_json else schedule_state)
    for _ in range(12 - stop):
        assert values(resumed) == values(whole)
        schedule.step()
        continued.step()
    assert values(resumed) == values(whole)


@pytest.mark.parametrize(("name", "arguments"), [*CASES.items(), *MOMENTUM_CASES.items()])
def test_a_schedule_by_epoch_becomes_one_by_iteration(name, arguments) -> None:
    """At the border of each epoch both have the same value, where the form does not depend on T."""
    kind = getattr(optim, name)
    schedule = kind.build_iter_from_epoch(optimizer(momentum=0.9), epoch_length=10, **arguments)
    assert not schedule.by_epoch
    assert schedule.end in (INF, arguments.get("end", INF) * 10)
    if name == "CosineAnnealingLR":
        by_epoch = curve(kind(optimizer(), **arguments), 12)
        assert curve(schedule, 120)[::10] == pytest.approx(by_epoch)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"by_epoch": False, "epoch_length": 3}, "only a schedule by epoch"),
        ({"epoch_length": 0}, "needs epoch_length >= 1, got 0"),
        ({}, "needs epoch_length >= 1, got None"),
    ],
)
def test_a_conversion_that_cannot_be_is_refused(arguments, text) -> None:
    with pytest.raises(ScheduleError, match=text):
        StepLR.build_iter_from_epoch(optimizer(), step_size=1, **arguments)


def test_going_on_without_a_state_needs_the_optimizers_state() -> None:
    sgd = optimizer()
    with pytest.raises(ParamGroupKeyError, match="Load the optimizer's state first"):
        StepLR(sgd, step_size=2, last_step=3)
    sgd.param_groups[0]["initial_lr"] = 1.0
    schedule = StepLR(sgd, step_size=2, last_step=3, gamma=0.5)
    assert schedule.last_step == 4
    assert sgd.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(("name", "arguments"), [*CASES.items(), *MOMENTUM_CASES.items()])
def test_a_schedule_restored_from_json_differs_in_nothing(name, arguments, caplog_of) -> None:
    schedule = getattr(optim, name)(optimizer(momentum=0.9), **arguments)
    state = json.loads(json.dumps(schedule.state_dict()))
    assert caplog_of(lambda: schedule.load_state_dict(state)) == []


def test_a_restored_schedule_that_differs_from_the_configured_one_is_reported(caplog_of) -> None:
    state = StepLR(optimizer(), step_size=2).state_dict()
    schedule = StepLR(optimizer(), step_size=5)
    lines = caplog_of(lambda: schedule.load_state_dict(state))
    assert schedule.step_size == 2
    assert any("step_size: 5 -> 2" in line for line in lines)


def test_the_state_of_something_else_is_refused() -> None:
    with pytest.raises(OptimStateError, match="has no 'last_step'; it has lr"):
        StepLR(optimizer(), step_size=2).load_state_dict({"lr": 1})


def test_values_are_logged_on_request(caplog_of) -> None:
    lines = caplog_of(lambda: ExponentialLR(optimizer(), gamma=0.5, verbose=True).step())
    assert lines == [
        "Adjusting parameter value of group 0 to 1.0000e+00.",
        "Adjusting parameter value of group 0 to 5.0000e-01.",
    ]


def plateau(values: list[float], **settings) -> list[float]:
    sgd = optimizer()
    schedule = ReduceOnPlateauLR(sgd, monitor="acc", **settings)
    rates = []
    for value in values:
        schedule.step({"acc": value})
        rates.append(sgd.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("rule", ["less", "greater"])
@pytest.mark.parametrize("threshold_rule", ["rel", "abs"])
@pytest.mark.parametrize("cooldown", [0, 2])
def test_a_plateau_lowers_the_rate_as_torch_does(rule, threshold_rule, cooldown) -> None:
    values = [3.0, 2.0, 2.0, 2.0, 1.0, 4.0, 4.0, 4.0, 4.0, 4.5, 4.5, 4.5, 0.5, 0.5, 0.5]
    sgd = optimizer()
    theirs = torch_schedules.ReduceLROnPlateau(
        sgd,
        mode={"less": "min", "greater": "max"}[rule],
        factor=0.5,
        patience=1,
        threshold_mode=threshold_rule,
        cooldown=cooldown,
        min_lr=0.1,
    )
    expected = []
    for value in values:
        theirs.step(value)
        expected.append(sgd.param_groups[0]["lr"])
    ours = plateau(
        values,
        rule=rule,
        factor=0.5,
        patience=1,
        threshold_rule=threshold_rule,
        cooldown=cooldown,
        min_value=0.1,
    )
    assert ours == pytest.approx(expected)


def test_a_metric_that_was_not_measured_is_named() -> None:
    schedule = ReduceOnPlateauLR(optimizer(), monitor="accuracy")
    with pytest.raises(ParamGroupKeyError, match=r"Did you mean 'acuracy'.*Measured: acuracy"):
        schedule.step({"acuracy": 1.0})
    with pytest.raises(OptimTypeError, match="metrics must be a dict, got float"):
        schedule.step(1.0)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: StepLR(3, step_size=1), OptimTypeError, "optimizer or its wrapper, got int"),
        (lambda: StepLR(optimizer(), step_size=0), ScheduleError, "step_size must be >= 1"),
        (lambda: StepLR(optimizer(), 1, begin=5, end=5), ScheduleError, "end must be after begin"),
        (lambda: StepLR(optimizer(), 1, begin=-1), ScheduleError, "begin must not be negative"),
        (lambda: StepLR(optimizer(), 1, last_step=-2), ScheduleError, "last_step must be an int"),
        (lambda: MultiStepLR(optimizer(), [5, 2]), ScheduleError, "milestones must increase"),
        (lambda: MultiStepLR(optimizer(), [2], -1), ScheduleError, "gamma must not be negative"),
        (lambda: StepLR(optimizer(), 1, gamma=-0.1), ScheduleError, "gamma must not be negative"),
        (lambda: ExponentialLR(optimizer(), -1.0), ScheduleError, "gamma must not be negative"),
        (lambda: PolyLR(optimizer(), power=-1), ScheduleError, "PolyLR: power must not be neg"),
        (lambda: LinearLR(optimizer(), start_factor=2.0), ScheduleError, "start_factor must be b"),
        (lambda: ConstantLR(optimizer(), factor=-1), ScheduleError, "factor must be between 0"),
        (lambda: CosineAnnealingLR(optimizer()), ScheduleError, "T_max is missing"),
        (lambda: CosineAnnealingLR(optimizer(), T_max=0), ScheduleError, "T_max must be >= 1"),
        (
            lambda: CosineAnnealingLR(optimizer(), T_max=2, eta_min=0.1, eta_min_ratio=0.1),
            ScheduleError,
            "exclude each other",
        ),
        (lambda: CosineRestartLR(optimizer(), [1, 2], eta_min=0), ScheduleError, "of one length"),
        (lambda: CosineRestartLR(optimizer(), [1]), ScheduleError, "exactly one of eta_min"),
        (lambda: OneCycleLR(optimizer(), 1.0, total_steps=0), ScheduleError, "total_steps must be"),
        (lambda: OneCycleLR(optimizer(), 1.0, pct_start=2), ScheduleError, "pct_start must be"),
        (
            lambda: OneCycleLR(optimizer(), 1.0, anneal_strategy="sin"),
            ScheduleError,
            "'cos' or 'linear', got 'sin'",
        ),
        (lambda: OneCycleLR(optimizer(), [1.0, 2.0]), ScheduleError, "2 values for 1 parameter gr"),
        (lambda: ReduceOnPlateauLR(optimizer(), factor=1.0), ScheduleError, "factor must be below"),
        (lambda: ReduceOnPlateauLR(optimizer(), monitor=None), ScheduleError, "monitor must be"),
        (lambda: ReduceOnPlateauLR(optimizer(), rule="min"), ScheduleError, "'less' or 'greater'"),
        (
            lambda: LinearParamScheduler(optimizer(), "weight_deca"),
            ParamGroupKeyError,
            "group 0 has no 'weight_deca'. Did you mean 'weight_decay'",
        ),
        (
            lambda: LinearMomentum(torch.optim.Adagrad([nn.Parameter(torch.ones(1))])),
            ParamGroupKeyError,
            "neither 'momentum' nor 'betas'",
        ),
    ],
)
def test_numbers_that_cannot_be_are_refused(make, error, text) -> None:
    with pytest.raises(error, match=text):
        make()


@given(stop=st.integers(0, 14))
def test_a_restored_plateau_goes_on_as_if_it_had_never_stopped(stop) -> None:
    values = [3.0, 2.0, 2.0, 2.0, 1.0, 4.0, 4.0, 4.0, 4.0, 4.5, 4.5, 4.5, 0.5, 0.5, 0.5]
    settings = {"monitor": "acc", "patience": 1, "cooldown": 1, "factor": 0.5}
    whole = ReduceOnPlateauLR(optimizer(), **settings)
    for value in values[:stop]:
        whole.step({"acc": value})
    file = io.BytesIO()
    torch.save([whole.state_dict(), whole.optimizer.state_dict()], file)
    file.seek(0)
    schedule_state, optimizer_state = torch.load(file, weights_only=True)
    resumed = ReduceOnPlateauLR(optimizer(), **settings)
    resumed.load_state_dict(schedule_state)
    resumed.optimizer.load_state_dict(optimizer_state)
    for value in values[stop:]:
        whole.step({"acc": value})
        resumed.step({"acc": value})
        assert resumed.get_last_value() == whole.get_last_value()
