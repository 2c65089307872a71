"""Hooks: order, defaults, binding, errors."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock, Mock

import pytest
import torch

from drivetrain.registry import HOOKS
from drivetrain.runner import Priority, get_priority
from drivetrain.runner._hook_list import HookList
from drivetrain.runner.hooks import Hook, IterTimerHook, LoggerHook, RuntimeInfoHook

NAMES = [
    "RuntimeInfoHook",
    "IterTimerHook",
    "DistSamplerSeedHook",
    "LoggerHook",
    "ParamSchedulerHook",
    "CheckpointHook",
]


def names(hooks) -> list[str]:
    return [type(hook).__name__ for hook in hooks]


def test_default_hooks_stand_in_their_documented_order(make_runner) -> None:
    assert names(make_runner().hooks) == NAMES


def test_a_default_hook_set_to_none_is_left_out(make_runner) -> None:
    assert "IterTimerHook" not in names(make_runner(default_hooks={"timer": None}).hooks)


def test_a_default_hook_may_be_replaced_by_a_node_or_an_object(make_runner) -> None:
    logger = LoggerHook(interval=3)
    runner = make_runner(default_hooks={"logger": logger, "timer": {"type": "IterTimerHook"}})
    assert logger in runner.hooks
    assert names(runner.hooks) == NAMES


def test_default_hooks_that_are_registered_again_are_there_once(make_runner) -> None:
    own, logger = Hook(), LoggerHook(interval=3)
    runner = make_runner(custom_hooks=[own])
    runner.register_default_hooks()
    runner.register_hooks({"logger": logger, "timer": None})
    assert sorted(names(runner.hooks)) == sorted([*(set(NAMES) - {"IterTimerHook"}), "Hook"])
    assert logger in runner.hooks


def test_a_priority_that_is_none_names_where_it_was_given() -> None:
    class Odd(Hook):
        priority = "SOON"

    with pytest.raises(ValueError, match=r"^Odd\.priority: no hook priority 'SOON'"):
        HookList().register(Odd())
    with pytest.raises(ValueError, match=r"register_hook\(Hook, priority=\): .* got -1"):
        HookList().register(Hook(), priority=-1)


def test_hooks_of_equal_priority_keep_the_order_of_their_registration() -> None:
    hooks = HookList()
    first, second, early = Hook(), Hook(), Hook()
    hooks.register(first)
    hooks.register(second)
    hooks.register(early, priority="HIGH")
    assert list(hooks) == [early, first, second]


@pytest.mark.parametrize(
    ("node_priority", "argument", "expected"),
    [(None, None, 0), ("VERY_LOW", None, 1), ("VERY_LOW", "HIGHEST", 0), (90, None, 1)],
    ids=["own", "node", "argument before node", "number"],
)
def test_priority_is_the_argument_then_the_node_then_the_hooks_own(
    node_priority, argument, expected
) -> None:
    hooks = HookList()
    hooks.register(IterTimerHook(), priority="LOW")
    node = {"type": "EmptyCacheHook"}
    if node_priority is not None:
        node["priority"] = node_priority
    hooks.register(node, priority=argument)
    assert names(hooks).index("EmptyCacheHook") == expected


def test_a_hook_knows_the_priority_that_it_was_registered_with() -> None:
    hooks = HookList()
    own = hooks.register(IterTimerHook())
    given = hooks.register({"type": "EmptyCacheHook", "priority": "LOW"}, priority=5)
    assert (own.priority, given.priority) == (IterTimerHook.priority, 5)


def test_only_methods_that_are_overridden_are_called() -> None:
    class Early(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None: ...

    class Both(Hook):
        def _after_iter(
            self, runner, batch_idx, data_batch=None, outputs=None, mode="train"
        ) -> None: ...

    hooks = HookList()
    for hook in (Hook(), Early(), Both()):
        hooks.register(hook)
    assert [type(m.__self__) for m in hooks.at["before_train_iter"]] == [Early]
    assert [type(m.__self__) for m in hooks.at["after_val_iter"]] == [Both]
    assert hooks.at["before_run"] == ()


def test_points_that_a_custom_loop_invents_reach_the_hooks_that_have_them(make_runner) -> None:
    class Extra(Hook):
        calls = 0

        def before_second_loader(self, runner, batch_idx) -> None:
            self.calls += batch_idx

    extra = Extra()
    runner = make_runner(custom_hooks=[extra])
    runner.call_hook("before_second_loader", batch_idx=5)
    assert extra.calls == 5


def test_a_hook_with_a_wrong_signature_is_named(make_runner) -> None:
    class Careless(Hook):
        def before_train(self) -> None: ...

    runner = make_runner(custom_hooks=[Careless()])
    with pytest.raises(TypeError, match=r"Careless\.before_train"):
        runner.call_hook(
            "before_train",
        )


def test_an_unknown_hook_is_named_with_its_place_and_the_nearest(make_runner) -> None:
    with pytest.raises(KeyError, match=r"custom_hooks\.0(.|\n)*EMAHook"):
        make_runner(custom_hooks=[{"type": "EMAHok"}])


def test_every_documented_point_is_reached_in_order(make_runner) -> None:
    reached: list[str] = []

    class Recorder(Hook):
        pass

    for point in Hook.stages:

        def method(self, runner, _point=point, **kwargs) -> None:
            reached.append(_point)

        setattr(Recorder, point, method)

    make_runner(train_cfg={"by_epoch": True, "max_epochs": 1}, custom_hooks=[Recorder()]).train()
    seen = list(dict.fromkeys(reached))
    assert seen == [
        "before_run",
        "before_train",
        "before_train_epoch",
        "before_train_iter",
        "after_train_iter",
        "after_train_epoch",
        "before_save_checkpoint",
        "before_val",
        "before_val_epoch",
        "before_val_iter",
        "after_val_iter",
        "after_val_epoch",
        "after_val",
        "after_train",
        "after_run",
    ]


@pytest.mark.parametrize(
    ("given", "value"),
    [("very_low", 90), (Priority.HIGH, 30), (42, 42)],
    ids=["name", "enum", "number"],
)
def test_a_priority_is_a_name_an_enum_or_a_number(given, value) -> None:
    assert get_priority(given) == value


@pytest.mark.parametrize("given", ["hihg", 101, -1])
def test_an_impossible_priority_is_refused(given) -> None:
    with pytest.raises(ValueError, match="priority"):
        get_priority(given)


def test_a_hook_registered_by_a_user_is_built_by_name(make_runner) -> None:
    @HOOKS.register_module(name="CountingHookOfThisTest", force=True)
    class Counting(Hook):
        def __init__(self, start: int) -> None:
            self.count = start

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            self.count += 1

    runner = make_runner(custom_hooks=[{"type": "CountingHookOfThisTest", "start": 100}])
    runner.train()
    assert [hook.count for hook in runner.hooks if isinstance(hook, Counting)] == [110]


def test_a_type_error_in_a_method_of_every_point_names_the_hook(make_runner) -> None:
    class Everywhere(Hook):
        def _before_epoch(self, runner, mode="train") -> None:
            len(3)

    with pytest.raises(TypeError, match=r"^Everywhere\.before_train_epoch: "):
        make_runner(custom_hooks=[Everywhere()]).train()


@pytest.mark.parametrize("kind", [Mock, MagicMock])
def test_hooks_tell_a_hub_that_is_none_of_ours_by_its_own_methods(kind) -> None:
    runner = kind(iter=3, max_iters=10, max_epochs=1)
    timer, info = IterTimerHook(), RuntimeInfoHook()
    timer.before_train_iter(runner, batch_idx=0)
    timer.after_train_iter(runner, batch_idx=0)
    info.after_train_iter(runner, batch_idx=0, outputs={"loss": torch.tensor(0.5)})
    calls = [call.args for call in runner.message_hub.update_scalar.call_args_list]
    assert [name for name, _ in calls] == ["train/data_time", "train/time", "train/loss"]
    assert calls[-1] == ("train/loss", 0.5)
    assert runner.message_hub.update_info.call_args.args[0] == "eta"


def test_the_interval_of_log_lines_can_be_changed_during_a_run(make_runner) -> None:
    class Rarer(Hook):
        def before_train_epoch(self, runner):
            (hook,) = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
            hook.interval = 1 if runner.epoch == 0 else 5

    runner = make_runner(
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1}}, custom_hooks=[Rarer()]
    )
    runner.train()
    text = Path(runner.logger.log_file).read_text()
    assert [text.count(f"Epoch(train) [{epoch}]") for epoch in (1, 2)] == [5, 1]
