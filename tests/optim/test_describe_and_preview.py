from __future__ import annotations

import copy

import pytest
import torch

from drivetrain.optim import (
    CosineAnnealingLR,
    LinearLR,
    LinearMomentum,
    MultiStepLR,
    OptimTypeError,
    OptimWrapper,
    OptimWrapperDict,
    ReduceOnPlateauLR,
    ScheduleError,
    build_optim_wrapper,
    describe,
    preview,
)


def test_groups_are_shown_as_a_table(model) -> None:
    cfg = {
        "optimizer": {"type": "SGD", "lr": 0.01, "weight_decay": 0.05},
        "paramwise_cfg": {"bias_decay_mult": 0.0, "merge_groups": True},
    }
    text = describe(build_optim_wrapper(model, cfg), model)
    lines = text.splitlines()
    assert lines[0].split() == [
        "group",
        "tensors",
        "values",
        "lr",
        "weight_decay",
        "momentum",
        "parameters",
    ]
    assert lines[1].split() == ["0", "2", "16", "0.01", "0.05", "0", "0.weight,", "2.weight"]
    assert lines[2].split() == ["1", "2", "5", "0.01", "0", "0", "0.bias,", "2.bias"]
    assert len(lines) == 3


def test_without_a_model_there_are_no_names_and_own_settings_appear(sgd) -> None:
    optimizer = sgd(0.1, 0.2)
    optimizer.param_groups[1]["mine"] = "x"
    lines = describe(optimizer).splitlines()
    assert lines[0].split()[-1] == "mine"
    assert lines[2].endswith("x")


def test_several_optimizers_are_shown_one_after_another(sgd) -> None:
    text = describe(OptimWrapperDict(gen=OptimWrapper(sgd(0.1)), disc=OptimWrapper(sgd(0.2))))
    assert text.splitlines()[0] == "gen"
    assert "\n\ndisc\n" in text


def test_a_preview_equals_what_stepping_gives_and_changes_nothing(sgd) -> None:
    wrapper = OptimWrapper(sgd(1.0, 0.1, momentum=0.9))
    schedules = [
        LinearLR(wrapper, start_factor=0.1, end=4),
        CosineAnnealingLR(wrapper, T_max=6, begin=4),
        LinearMomentum(wrapper, start_factor=0.5, end=5),
    ]
    schedules[0].step()
    before = copy.deepcopy([wrapper.state_dict(), *(s.state_dict() for s in schedules)])
    curves = preview(schedules, 8)
    assert [wrapper.state_dict(), *(s.state_dict() for s in schedules)] == before
    for step in range(8):
        assert curves["lr"][step] == wrapper.get_lr()["lr"]
        assert curves["momentum"][step] == wrapper.get_momentum()["momentum"]
        for schedule in schedules:
            schedule.step()


def test_schedules_by_epoch_and_by_iteration_need_the_length_of_an_epoch(sgd) -> None:
    optimizer = sgd(1.0)
    schedules = [
        LinearLR(optimizer, start_factor=0.5, end=3, by_epoch=False),
        MultiStepLR(optimizer, milestones=[1], gamma=0.1),
    ]
    with pytest.raises(ScheduleError, match="give epoch_length"):
        preview(schedules, 4)
    values = [groups[0] for groups in preview(schedules, 6, epoch_length=4)["lr"]]
    assert values == pytest.approx([0.5, 0.75, 1.0, 1.0, 0.1, 0.1])


def test_a_schedule_that_waits_for_metrics_stays(sgd) -> None:
    assert preview(ReduceOnPlateauLR(sgd(1.0)), 2) == {"lr": [[1.0], [1.0]]}


def test_a_preview_of_something_else_is_refused(sgd) -> None:
    schedule = torch.optim.lr_scheduler.StepLR(sgd(), 1)
    with pytest.raises(OptimTypeError, match="needs schedules, got StepLR"):
        preview([schedule], 3)
