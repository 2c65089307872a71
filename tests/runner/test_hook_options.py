"""Each option of the hooks does what it says."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from drivetrain.runner.hooks import EmptyCacheHook, Hook, LoggerHook


def lines(runner) -> list[str]:
    log = next(Path(runner.work_dir).rglob("*.log"))
    return [
        line for line in log.read_text().splitlines() if re.search(r"(Epoch|Iter)\(train", line)
    ]


def records(runner, mode: str) -> list[dict]:
    path = next(Path(runner.work_dir).rglob("scalars.json"))
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [record for record in found if record.get("mode") == mode]


def with_logger(**options) -> dict:
    return {"logger": {"type": "LoggerHook", **options}}


@pytest.mark.parametrize(
    ("options", "batches"),
    [
        ({"interval": 2}, [2, 4, 2, 4]),
        ({"interval": 2, "ignore_last": False}, [2, 4, 5, 2, 4, 5]),
        ({"interval": 5}, [5, 5]),
        ({"interval": 7}, [5, 5]),
        ({"interval": 3}, [3, 3]),
        ({"interval": 7, "ignore_last": False}, [5, 5]),
    ],
    ids=str,
)
def test_lines_come_at_the_interval_and_at_the_end_if_asked_for_or_if_it_were_the_only_one(
    make_runner, options, batches
) -> None:
    runner = make_runner(default_hooks=with_logger(**options))
    runner.train()
    assert [int(re.search(r"\[ ?(\d)/5\]", line)[1]) for line in lines(runner)] == batches


@pytest.mark.parametrize(("interval", "count"), [(3, 3), (-1, 0), (1000, 0)])
def test_the_name_of_the_experiment_is_repeated(make_runner, interval, count) -> None:
    runner = make_runner(default_hooks=with_logger(interval_exp_name=interval))
    runner.train()
    log = next(Path(runner.work_dir).rglob("*.log")).read_text()
    assert log.count("Exp name: ") == count


@pytest.mark.parametrize(
    ("suffix", "endings"),
    [(".json", {".json"}), ((".log", ".py"), {".log", ".py"}), ([".nothing"], set())],
    ids=str,
)
def test_files_are_copied_by_their_endings(make_runner, tmp_path, suffix, endings) -> None:
    hook = LoggerHook(out_dir=str(tmp_path / "store"), out_suffix=suffix)
    make_runner(default_hooks={"logger": hook}).train()
    copied = [path for path in (tmp_path / "store" / "work").rglob("*") if path.is_file()]
    assert {path.suffix for path in copied} == endings


def test_files_are_copied_into_the_folders_that_they_had(make_runner, tmp_path) -> None:
    """Two files of one name would meet otherwise, and a tool looks for ``vis_data``."""
    runner = make_runner(default_hooks=with_logger(out_dir=str(tmp_path / "store"), interval=1))
    runner.train()
    vis_data = tmp_path / "store" / "work" / "vis_data"
    written = (Path(runner.log_dir) / "vis_data" / "scalars.json").read_text()
    assert (vis_data / "scalars.json").read_text() == written != ""
    assert (vis_data / "config.py").exists()


def test_the_metrics_of_a_test_are_in_a_file_of_their_own(make_runner, loader_of, accuracy) -> None:
    """What collects results of many runs reads one file, whatever was trained before."""
    runner = make_runner(
        test_dataloader=loader_of(), test_cfg={}, test_evaluator={"type": accuracy}
    )
    metrics = runner.test()
    [file] = Path(runner.log_dir).glob("*.json")
    found = json.loads(file.read_text())
    assert file.stem == runner.timestamp
    assert found.keys() - metrics.keys() == {"time", "data_time"}
    assert metrics.items() <= found.items()


def test_local_files_may_go_once_they_are_copied(make_runner, tmp_path) -> None:
    hook = LoggerHook(out_dir=str(tmp_path / "store"), keep_local=False)
    runner = make_runner(default_hooks={"logger": hook})
    runner.train()
    assert not [p for p in Path(runner.log_dir).rglob("*") if p.suffix in (".json", ".log")]
    assert list((tmp_path / "store" / "work").glob("*.log"))


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, [5, 10]),
        ({"log_metric_by_epoch": False}, [5, 10]),
        ({"log_metric_by_epoch": True}, [1, 2]),
    ],
    ids=str,
)
def test_the_step_of_a_metric_is_the_iteration_or_the_epoch(make_runner, options, steps) -> None:
    runner = make_runner(default_hooks=with_logger(interval=5, **options))
    runner.train()
    found = records(runner, "val")
    assert [record["step"] for record in found] == steps
    assert [(record["epoch"], record["iter"]) for record in found] == [(1, 5), (2, 10)]
    assert [record["step"] for record in records(runner, "train")] == [5, 10]


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({}, 4),
        ({"after_epoch": False}, 0),
        ({"before_epoch": True, "after_epoch": False}, 4),
        ({"before_epoch": True}, 8),
        ({"after_epoch": False, "after_iter": True}, 20),
    ],
    ids=str,
)
def test_the_cache_is_emptied_when_that_was_asked_for(
    make_runner, monkeypatch, options, calls
) -> None:
    """Two epochs of five iterations, each followed by a validation of five."""
    counted = []
    module = sys.modules[EmptyCacheHook.__module__]
    monkeypatch.setattr(module, "_empty_cache", lambda: counted.append(1))
    make_runner(custom_hooks=[{"type": "EmptyCacheHook", **options}]).train()
    assert len(counted) == calls


def test_an_average_takes_the_options_of_its_kind(make_runner) -> None:
    node = {"type": "EMAHook", "momentum": 0.25, "interval": 2, "update_buffers": True}
    runner = make_runner(custom_hooks=[node])
    runner.train()
    average = next(hook for hook in runner.hooks if hasattr(hook, "ema_model")).ema_model
    assert (average.momentum, average.interval, average.update_buffers) == (0.25, 2, True)


@pytest.mark.parametrize("strict", [True, False])
def test_an_average_that_does_not_fit_is_refused_if_asked_for(
    make_runner, tmp_path, strict
) -> None:
    node = {"type": "EMAHook", "strict_load": strict}
    make_runner(custom_hooks=[node], train_cfg={"by_epoch": True, "max_epochs": 1}).train()
    path = tmp_path / "work" / "epoch_1.pth"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["ema_state_dict"]["module.layers.4.bias"]
    torch.save(checkpoint, tmp_path / "cut.pth")
    runner = make_runner(custom_hooks=[node], load_from=str(tmp_path / "cut.pth"), resume=True)
    if strict:
        with pytest.raises(RuntimeError, match=r"layers\.4\.bias"):
            runner.train()
    else:
        runner.train()


def test_hooks_with_state_have_it_back_each_its_own(make_runner) -> None:
    class Counter(Hook):
        def __init__(self, step: int) -> None:
            self.step, self.count = step, 0

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            self.count += self.step

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state) -> None:
            self.count = state["count"]

    make_runner(
        custom_hooks=[Counter(1), Counter(100)], train_cfg={"by_epoch": True, "max_epochs": 1}
    ).train()
    again = [Counter(1), Counter(100)]
    make_runner(custom_hooks=again, resume=True).train()
    assert [hook.count for hook in again] == [10, 1000]


def test_the_log_lists_the_hooks_of_each_point_by_priority(make_runner) -> None:
    runner = make_runner(custom_hooks=[{"type": "EMAHook", "priority": 49}])
    text = runner.get_hooks_info()
    block = text.split("after_train_iter:\n")[1].split("\nafter_train_epoch")[0]
    assert re.findall(r"\((\w+) *\) (\w+)", block) == [
        ("VERY_HIGH", "RuntimeInfoHook"),
        ("49", "EMAHook"),
        ("NORMAL", "IterTimerHook"),
        ("BELOW_NORMAL", "LoggerHook"),
        ("LOW", "ParamSchedulerHook"),
        ("VERY_LOW", "CheckpointHook"),
    ]
    assert text in next(Path(runner.work_dir).rglob("*.log")).read_text()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="errors have no notes before")
def test_an_error_in_a_hook_keeps_its_type_and_says_where_it_was(make_runner) -> None:
    class Boom(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            raise LookupError("boom")

    with pytest.raises(LookupError) as caught:
        make_runner(custom_hooks=[Boom()]).train()
    assert caught.value.__notes__ == ["Raised in Boom.after_train_iter, at iteration 1."]
