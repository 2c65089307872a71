from __future__ import annotations

import pytest
import torch

from drivetrain.optim import (
    AmpOptimWrapper,
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
    OptimTypeError,
    OptimWrapper,
    OptimWrapperDict,
    ScheduleError,
    StepLR,
    build_optim_wrapper,
    build_param_schedulers,
)
from drivetrain.registry import FUNCTIONS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS, RegistryError


def test_a_node_without_type_becomes_a_plain_wrapper(model) -> None:
    wrapper = build_optim_wrapper(model, {"optimizer": {"type": "SGD", "lr": 0.1}})
    assert type(wrapper) is OptimWrapper
    assert type(wrapper.optimizer) is torch.optim.SGD


def test_a_node_gives_the_wrapper_its_arguments_and_is_not_changed(model) -> None:
    cfg = {
        "type": "AmpOptimWrapper",
        "dtype": "bfloat16",
        "accumulative_counts": 4,
        "optimizer": {"type": "AdamW", "lr": 0.1},
    }
    before = repr(cfg)
    wrapper = build_optim_wrapper(model, cfg)
    assert type(wrapper) is AmpOptimWrapper
    assert wrapper.accumulative_counts == 4
    assert repr(cfg) == before


def test_a_built_optimizer_or_wrapper_is_taken_as_it_is(model) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = build_optim_wrapper(model, {"optimizer": optimizer})
    assert wrapper.optimizer is optimizer
    assert build_optim_wrapper(model, wrapper) is wrapper


def test_built_wrappers_by_name_become_one(model, sgd) -> None:
    built = build_optim_wrapper(model, {"a": OptimWrapper(sgd()), "b": OptimWrapper(sgd())})
    assert isinstance(built, OptimWrapperDict)
    assert list(built) == ["a", "b"]


def test_a_constructor_of_ones_own_builds_several_optimizers(model) -> None:
    @OPTIM_WRAPPER_CONSTRUCTORS.register_module(force=True)
    class OnePerLayer:
        def __init__(self, optim_wrapper_cfg, paramwise_cfg=None) -> None:
            self.cfg = optim_wrapper_cfg

        def __call__(self, model):
            return OptimWrapperDict(
                **{
                    name: build_optim_wrapper(model.get_submodule(name), cfg)
                    for name, cfg in self.cfg.items()
                }
            )

    node = {"optimizer": {"type": "SGD", "lr": 0.1}}
    built = build_optim_wrapper(model, {"0": node, "2": node, "constructor": "OnePerLayer"})
    assert built.get_lr() == {"0.lr": [0.1], "2.lr": [0.1]}


@pytest.mark.parametrize(
    ("cfg", "text"),
    [
        (3, "must be an optimizer wrapper or a dict, got int"),
        ({"optimiser": {"type": "SGD"}}, "Is 'optimiser' meant to be 'optimizer'"),
        ({}, "it holds nothing"),
    ],
)
def test_what_is_no_optimizer_wrapper_is_refused(model, cfg, text) -> None:
    with pytest.raises(OptimTypeError, match=text):
        build_optim_wrapper(model, cfg)


def test_a_misspelt_optimizer_is_reported_with_its_place(model) -> None:
    with pytest.raises(RegistryError, match=r"optim_wrapper\.optimizer[\s\S]*AdamW"):
        build_optim_wrapper(model, {"optimizer": {"type": "AdamWW", "lr": 0.1}})


def test_both_builders_are_found_by_name() -> None:
    assert FUNCTIONS.get("build_optim_wrapper") is build_optim_wrapper
    assert FUNCTIONS.get("build_param_schedulers") is build_param_schedulers


def test_one_node_a_list_and_built_schedulers_are_accepted(sgd) -> None:
    wrapper = OptimWrapper(sgd())
    built = LinearLR(wrapper, end=3)
    assert build_param_schedulers(built, wrapper) == [built]
    kinds = [
        type(scheduler)
        for scheduler in build_param_schedulers(
            [{"type": "StepLR", "step_size": 1}, {"type": "MultiStepLR", "milestones": [1]}, built],
            wrapper,
        )
    ]
    assert kinds == [StepLR, MultiStepLR, LinearLR]
    assert build_param_schedulers(None, wrapper) == []


def test_the_run_gives_a_schedule_its_end(sgd) -> None:
    cfg = [
        {"type": "CosineAnnealingLR"},
        {"type": "CosineAnnealingLR", "by_epoch": False, "begin": 10},
        {"type": "LinearLR", "end": 3},
    ]
    run = {"max_epochs": 12, "max_iters": 120}
    by_epoch, by_iter, own = build_param_schedulers(cfg, OptimWrapper(sgd()), **run)
    assert isinstance(by_epoch, CosineAnnealingLR)
    assert (by_epoch.end, by_epoch.T_max) == (12, 12)
    assert (by_iter.end, by_iter.T_max) == (120, 110)
    assert own.end == 3


def test_epochs_become_iterations(sgd) -> None:
    node = {"type": "MultiStepLR", "milestones": [2, 3], "convert_to_iter_based": True}
    (schedule,) = build_param_schedulers(
        node, OptimWrapper(sgd()), epoch_length=5, max_epochs=4, max_iters=20
    )
    assert not schedule.by_epoch
    assert (list(schedule.milestones), schedule.end) == ([10, 15], 20)
    assert "convert_to_iter_based" in node


def test_a_conversion_without_a_known_epoch_is_refused(sgd) -> None:
    node = {"type": "StepLR", "step_size": 1, "convert_to_iter_based": True}
    with pytest.raises(ScheduleError, match="number of iterations in an epoch"):
        build_param_schedulers(node, OptimWrapper(sgd()))


def test_several_optimizers_get_schedules_of_their_own(sgd) -> None:
    pair = OptimWrapperDict(gen=OptimWrapper(sgd()), disc=OptimWrapper(sgd()))
    shared = build_param_schedulers({"type": "StepLR", "step_size": 1}, pair)
    assert [type(s) for s in shared["gen"] + shared["disc"]] == [StepLR, StepLR]
    assert shared["gen"][0] is not shared["disc"][0]

    named = build_param_schedulers({"gen": {"type": "StepLR", "step_size": 1}, "disc": []}, pair)
    assert [len(named["gen"]), len(named["disc"])] == [1, 0]


@pytest.mark.parametrize(
    ("cfg", "text"),
    [
        ({"gne": [], "disc": []}, "'(gne' is no optimizer|gen' has no schedulers)"),
        ({"gen": []}, "'disc' has no schedulers"),
    ],
)
def test_schedules_for_wrong_names_are_refused(sgd, cfg, text) -> None:
    pair = OptimWrapperDict(gen=OptimWrapper(sgd()), disc=OptimWrapper(sgd()))
    with pytest.raises(ScheduleError, match=text):
        build_param_schedulers(cfg, pair)


def test_something_that_is_no_schedule_is_refused(sgd) -> None:
    with pytest.raises(OptimTypeError, match="a scheduler or a dict with 'type' is needed, got 3"):
        build_param_schedulers([3], OptimWrapper(sgd()))


@pytest.mark.parametrize(
    "name", [n for n, c in vars(torch.optim).items() if isinstance(c, type) and n != "Optimizer"]
)
def test_every_optimizer_of_torch_is_found_under_its_name(name) -> None:
    assert OPTIMIZERS.get(name) is getattr(torch.optim, name)


@pytest.mark.parametrize("name", ["Lion", "DAdaptAdam", "AdamW8bit", "TransformersAdafactor"])
def test_an_optimizer_of_a_missing_library_says_what_to_install(name, model, monkeypatch) -> None:
    source = OPTIMIZERS.get(name).__doc__
    assert source is not None
    for module in ("lion_pytorch", "dadaptation", "bitsandbytes", "bitsandbytes.optim"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ImportError, match="Install it: pip install"):
        OPTIMIZERS.get(name)(model.parameters())


def test_an_optimizer_of_another_library_is_used_where_installed(model, monkeypatch) -> None:
    import sys
    import types

    class Lion(torch.optim.SGD):
        pass

    monkeypatch.setitem(sys.modules, "lion_pytorch", types.SimpleNamespace(Lion=Lion))
    wrapper = build_optim_wrapper(model, {"optimizer": {"type": "Lion", "lr": 0.1}})
    assert type(wrapper.optimizer) is Lion


def test_errors_of_a_schedule_name_its_place(sgd) -> None:
    wrapper = OptimWrapper(sgd())
    bad = {"type": "StepLR", "step_size": 0}
    with pytest.raises(ScheduleError, match=r"param_scheduler\.1[\s\S]*step_size must be >= 1"):
        build_param_schedulers([{"type": "LinearLR", "end": 3}, bad], wrapper)
    with pytest.raises(ScheduleError, match=r"param_scheduler[\s\S]*step_size must be >= 1"):
        build_param_schedulers({**bad, "convert_to_iter_based": True}, wrapper, epoch_length=5)


def test_a_schedule_of_several_optimizers_at_once_is_refused(sgd) -> None:
    pair = OptimWrapperDict(gen=OptimWrapper(sgd()), disc=OptimWrapper(sgd()))
    with pytest.raises(OptimTypeError, match="there are several optimizers, gen, disc"):
        StepLR(pair, step_size=1)
