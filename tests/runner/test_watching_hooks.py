"""Hooks that look at a run: pace, profile, views of a test, losses that are no numbers."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from drivetrain.dataset import BaseDataset
from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel, BaseTTAModel
from drivetrain.runner import RunnerConfigError, build_runner_with_tta
from drivetrain.runner.hooks import (
    Hook,
    NPUProfilerHook,
    PrepareTTAHook,
    ProfilerHook,
    ThroughputHook,
)


def log_of(runner) -> str:
    return "".join(path.read_text() for path in sorted(_files(runner, "*.log")))


def _files(runner, pattern) -> list[Path]:
    return list(Path(runner.work_dir).rglob(pattern))


def records(runner) -> list[dict]:
    lines = [
        json.loads(line)
        for path in _files(runner, "scalars.json")
        for line in path.read_text().splitlines()
    ]
    return [line for line in lines if line.get("mode") == "train"]


class Busy(Hook):
    """Make each step take a while, in the middle of its hooks."""

    priority = "HIGH"

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        time.sleep(self.step_s)


class SlowSave(Hook):
    """A checkpoint that takes longer than everything else, behind all other hooks of a step."""

    priority = "VERY_LOW"

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        time.sleep(0.02)


def test_throughput_is_in_the_line_the_record_and_the_hub(make_runner) -> None:
    runner = make_runner(
        custom_hooks=[{"type": "ThroughputHook", "interval_iters": 5}],
        default_hooks={"logger": {"type": "LoggerHook", "interval": 5}},
    )
    runner.train()
    assert re.search(r"samples_per_s: [\d.]+  data_wait: 0\.\d+  memory_mb: \d+", log_of(runner))
    last = records(runner)[-1]
    assert last["samples_per_s"] > 0
    assert last["memory_mb"] > 10
    assert runner.message_hub.get_scalar("train/data_wait").current() <= 1


def test_the_share_of_waiting_is_that_of_the_loader(make_runner, points, loader_of) -> None:
    class Slow(points):
        def __getitem__(self, index):
            if index % 4 == 0:  # the first sample of each batch
                time.sleep(0.03)
            return super().__getitem__(index)

    slow = loader_of(dataset=Slow(), sampler={"type": "DefaultSampler", "shuffle": False})
    hook = ThroughputHook(interval_iters=10)
    runner = make_runner(train_dataloader=slow, custom_hooks=[hook, Busy(0.01)])
    runner.train()
    share = runner.message_hub.get_scalar("train/data_wait").current()
    pace = runner.message_hub.get_scalar("train/samples_per_s").current()
    # 4 samples in 30 ms of waiting and 10 ms of work: at most 100 a second.
    assert 0.5 < share < 0.8
    assert 30 < pace < 100


def test_what_hooks_do_behind_a_step_is_no_waiting_for_data(make_runner) -> None:
    hook = ThroughputHook(interval_iters=5)
    runner = make_runner(custom_hooks=[hook, SlowSave()])
    runner.train()
    assert runner.message_hub.get_scalar("train/data_wait").current() < 0.3


def test_validation_is_left_out(make_runner, accuracy) -> None:
    class SlowMetric(accuracy):
        def compute_metrics(self, results):
            time.sleep(0.2)
            return super().compute_metrics(results)

    loop = {"type": "IterBasedTrainLoop", "max_iters": 10, "val_interval": 2}
    hook = ThroughputHook(interval_iters=10)
    runner = make_runner(
        train_cfg=loop, val_evaluator={"type": SlowMetric}, custom_hooks=[hook, Busy(0.01)]
    )
    runner.train()
    # 10 batches of 4 in 0.1 s of steps; with the validations it would be under 30 a second.
    assert runner.message_hub.get_scalar("train/samples_per_s").current() > 60


@pytest.mark.parametrize("counts", [1, 3])
def test_samples_are_counted_once_whatever_the_accumulation(make_runner, counts) -> None:
    hook = ThroughputHook(interval_iters=5)
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": counts}
    make_runner(custom_hooks=[hook], optim_wrapper=wrapper).train()
    assert hook.samples_seen == 40


def test_a_resumed_run_goes_on_counting_samples(make_runner) -> None:
    first = ThroughputHook(interval_iters=5)
    make_runner(custom_hooks=[first], train_cfg={"by_epoch": True, "max_epochs": 1}).train()
    second = ThroughputHook(interval_iters=5)
    make_runner(custom_hooks=[second], resume=True).train()
    assert (first.samples_seen, second.samples_seen) == (20, 40)


def test_the_profiler_writes_a_table_and_a_trace(make_runner, tmp_path) -> None:
    trace = tmp_path / "traces" / "run.json"
    node = {
        "type": "ProfilerHook",
        "by_epoch": False,
        "profile_times": 3,
        "on_trace_ready": {"type": "log_trace", "sort_by": "cpu_time_total", "row_limit": 5},
        "record_shapes": True,
        "profile_memory": True,
        "with_flops": True,
        "json_trace_path": str(trace),
    }
    runner = make_runner(custom_hooks=[node])
    runner.train()
    assert "The profiler is off after 3 steps." in log_of(runner)
    assert "CPU total %" in log_of(runner)
    assert json.loads(trace.read_text())["traceEvents"]


def test_the_profiler_writes_for_tensorboard_by_a_schedule(make_runner) -> None:
    hook = ProfilerHook(
        by_epoch=False,
        profile_times=8,
        schedule={"wait": 1, "warmup": 1, "active": 2, "repeat": 2},
        on_trace_ready={"type": "tb_trace", "worker_name": "one"},
        with_stack=True,
    )
    runner = make_runner(custom_hooks=[hook])
    runner.train()
    assert len(_files(runner, "tf_tracing_logs/one*.pt.trace.json")) == 2


def test_the_profiler_counts_epochs_and_takes_a_function(make_runner) -> None:
    seen = []
    runner = make_runner(custom_hooks=[ProfilerHook(on_trace_ready=seen.append)])
    runner.train()
    assert len(seen) == 1
    names = {event.key for event in seen[0].key_averages()}
    assert "aten::addmm" in names


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"profile_times": 0}, "profile_times"),
        ({"activity_with_cpu": False}, "nothing to record"),
        ({"on_trace_ready": {"type": "print"}}, "'log_trace' or 'tb_trace'"),
        ({"on_trace_ready": "log_trace"}, "'log_trace' or 'tb_trace'"),
        ({"on_trace_ready": {"type": "tb_trace", "folder": "x"}}, "folder"),
    ],
    ids=str,
)
def test_options_of_the_profiler_that_make_no_sense_are_refused(options, text) -> None:
    with pytest.raises(ValueError, match=text):
        ProfilerHook(**options)


def test_a_profile_longer_than_the_training_is_refused(make_runner) -> None:
    runner = make_runner(custom_hooks=[ProfilerHook(by_epoch=False, profile_times=11)])
    with pytest.raises(RunnerConfigError, match=r"profile_times=11 iterations.*has 10"):
        runner.train()


@pytest.mark.skipif("torch_npu" in sys.modules, reason="there is an NPU")
def test_the_npu_profiler_says_what_is_missing(make_runner) -> None:
    with pytest.raises(RunnerConfigError, match=r"needs an Ascend NPU and torch_npu"):
        make_runner(custom_hooks=[{"type": "NPUProfilerHook", "begin": 1, "end": 3}]).train()


def test_the_npu_profiler_checks_its_range() -> None:
    with pytest.raises(ValueError, match="begin lies before end"):
        NPUProfilerHook(begin=3, end=3)


class Scores(BaseModel):
    """Its prediction is its input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs, mode="tensor"):
        return [float(value) for value in torch.stack(list(inputs)).view(-1)]


class Mean(BaseTTAModel):
    """The mean of the views."""

    def merge_preds(self, data_samples_list):
        return [sum(views) / len(views) for views in data_samples_list]


class Total(BaseMetric):
    """The sum of the predictions."""

    def process(self, data_batch, data_samples) -> None:
        self.results += data_samples

    def compute_metrics(self, results):
        return {"sum": sum(results)}


class TwoViews:
    """Two views of a sample, i and 3 i."""

    def __call__(self, sample):
        value = float(sample["sample_idx"])
        return {"inputs": [torch.tensor([value]), torch.tensor([3.0 * value])]}


class Piped(BaseDataset):
    """Four samples that are nothing but their index."""

    def load_data_list(self):
        return [{} for _ in range(4)]


class Views(torch.utils.data.Dataset):
    """Two views of each sample, i and 3 i."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index):
        return {"inputs": [torch.tensor([1.0 * index]), torch.tensor([3.0 * index])]}


def test_a_test_merges_views_and_gives_the_model_back(make_runner, loader_of) -> None:
    nothing = ["train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"]
    nothing += ["val_dataloader", "val_cfg", "val_evaluator"]
    runner = make_runner(
        **dict.fromkeys(nothing),
        model=Scores(),
        test_dataloader=loader_of(
            dataset=Views(),
            collate_fn={"type": "pseudo_collate"},
            sampler={"type": "DefaultSampler", "shuffle": False},
        ),
        test_cfg={},
        test_evaluator={"type": Total},
        custom_hooks=[PrepareTTAHook({"type": Mean})],
    )
    model = runner.model
    assert runner.test() == {"sum": 2.0 * (0 + 1 + 2 + 3)}
    assert runner.model is model


def test_a_loss_that_is_no_number_is_one_error_line_that_names_the_remedy(make_runner) -> None:
    class Spoil(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            if runner.iter >= 2:
                outputs["loss"] = outputs["loss"] * float("nan")

        priority = "HIGHEST"

    runner = make_runner(
        custom_hooks=[Spoil()], default_hooks={"logger": {"type": "LoggerHook", "interval": 1}}
    )
    runner.train()
    lines = [line for line in log_of(runner).splitlines() if "NaNWatchHook (in" in line]
    assert len(lines) == 1
    assert " - ERROR - " in lines[0]
    assert "loss at iteration 3" in lines[0]


def test_a_runner_with_augmentation_is_built_from_two_keys_of_the_config(tmp_path) -> None:
    cfg = {
        "model": {"type": Scores},
        "work_dir": str(tmp_path / "work"),
        "test_dataloader": {
            "dataset": {"type": "RepeatDataset", "times": 1, "dataset": {"type": Piped}},
            "batch_size": 2,
            "num_workers": 0,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": {"type": "pseudo_collate"},
        },
        "test_cfg": {},
        "test_evaluator": {"type": Total},
        "tta_model": {"type": Mean},
        "tta_pipeline": [{"type": TwoViews}],
    }
    assert build_runner_with_tta(cfg).test() == {"sum": 12.0}
    assert "pipeline" not in cfg["test_dataloader"]["dataset"]["dataset"]
    del cfg["tta_model"], cfg["tta_pipeline"]
    with pytest.raises(RunnerConfigError, match="no tta_model and no tta_pipeline"):
        build_runner_with_tta(cfg)
