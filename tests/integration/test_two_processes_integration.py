"""The same training in two processes: equal weights on both, exact metrics."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HOOK = """
import torch
from drivetrain.registry import HOOKS
from drivetrain.runner.hooks import Hook

@HOOKS.register_module()
class KeepWeightsHook(Hook):
    def after_train(self, runner):
        torch.save(runner.model.module.state_dict(), f"{runner.work_dir}/rank_{runner.rank}.pth")
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    """The digits for two epochs, with a hook that keeps every rank's weights."""
    (tmp_path / "keep_weights.py").write_text(HOOK)
    digits = Path(__file__).resolve().parents[2] / "examples" / "digits"
    (tmp_path / "two.py").write_text(
        f"_base_ = [{str(digits / 'config.py')!r}]\n"
        f"import sys\n"
        f"sys.path.insert(0, {str(digits)!r})\n"
        "custom_imports = dict(imports=['digits', 'keep_weights'])\n"
        "custom_hooks = _base_.custom_hooks + [dict(type='KeepWeightsHook')]\n"
        "train_cfg = dict(max_epochs=2)\n"
    )
    return str(tmp_path / "two.py")


def check(work_dir: Path, text: str) -> None:
    first, second = (torch.load(work_dir / f"rank_{rank}.pth") for rank in (0, 1))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    # 180 validation images do not divide evenly into batches and ranks: exact means out of 180.
    folder = max(path for path in work_dir.iterdir() if path.is_dir())
    lines = (folder / "vis_data" / "scalars.json").read_text().splitlines()
    val = [r["accuracy"] for r in map(json.loads, lines) if r.get("mode") == "val"]
    assert len(val) == 2  # a resumed run validates what was saved before
    assert all(abs(value * 180 - round(value * 180)) < 1e-9 for value in val)
    assert len(re.findall(r"Epoch\(val\) \[2\]", text)) == 1  # one rank speaks


def test_torchrun_trains_exactly_and_launch_resumes_to_the_same_weights(
    start, config, tmp_path
) -> None:
    work_dir = tmp_path / "work"
    words = ["train", config, "--work-dir", str(work_dir), "--no-test"]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    command = start(*words, launcher=torchrun)
    assert command.finish() == 0, command.text
    check(work_dir, command.text)
    whole = torch.load(work_dir / "rank_0.pth")
    (work_dir / "epoch_2.pth").unlink()
    resumed = start(*words, "--launch", "2", "--resume")
    assert resumed.finish() == 0, resumed.text
    assert "epoch_1.pth" in resumed.text
    check(work_dir, resumed.text)
    again = torch.load(work_dir / "rank_0.pth")
    other = [name for name in whole if not torch.equal(whole[name], again[name])]
    assert other == [], f"{other}\n{where_they_part(work_dir)}\n{resumed.text}"


SHARED_OUT = """
import os
from drivetrain.registry import DATASETS

@DATASETS.register_module()
class SharedOut:
    def __len__(self):
        return 64 - 16 * int(os.environ["RANK"])
    def __getitem__(self, index):
        return index
"""


def test_ranks_with_data_of_other_lengths_are_named_before_one_waits(start, config) -> None:
    folder = Path(config).parent
    (folder / "shared_out.py").write_text(SHARED_OUT)
    (folder / "uneven.py").write_text(
        f"_base_ = [{config!r}]\n"
        "custom_imports = dict(imports=['digits', 'keep_weights', 'shared_out'])\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='SharedOut'), batch_size=8)\n"
        "val_dataloader = val_cfg = val_evaluator = None\n"
        "test_dataloader = test_cfg = test_evaluator = None\n"
        "custom_hooks = None\n"
        "optim_wrapper = dict(_delete_=True, optimizer=dict(type='SGD', lr=0.1))\n"
    )
    command = start("train", str(folder / "uneven.py"), "--launch", "2")
    assert command.finish() == 1, command.text
    assert "batches of train_dataloader:  rank 0: 4, rank 1: 3" in command.text


def where_they_part(work_dir: Path) -> str:
    """The first records of the two starts that differ, for whoever has to find out why."""
    starts: list[dict[tuple[str, int], dict]] = []
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        records = map(json.loads, file.read_text().splitlines())
        starts.append({(r["mode"], r["step"]): r for r in records})
    steady = {"loss", "lr", "accuracy", "grad_norm"}
    for key, record in starts[-1].items():
        before = starts[0].get(key, {})
        if any(record.get(name) != before.get(name) for name in steady):
            return f"first at {key}:\n  {before}\n  {record}"
    return "all records are equal"


def test_a_mistake_in_the_config_is_one_error_not_one_per_process(start, config) -> None:
    command = start("train", config, "--launch", "2", "model.widht=3")
    assert command.finish() == 2
    assert command.text.count("model.widht") <= 2
    assert "Traceback" not in command.text


def test_a_config_that_differs_between_ranks_is_one_error_with_the_setting(start, config) -> None:
    with open(config, "a") as file:
        file.write(
            "import os\n"
            "optim_wrapper = dict(optimizer=dict(lr=0.1 * (1 + int(os.environ.get('RANK', 0)))))\n"
        )
    command = start("train", config, "--launch", "2")
    assert command.finish() == 1
    assert command.text.count("The ranks were not started alike") == 1, command.text
    assert "config optim_wrapper.optimizer.lr:  rank 0: 0.1, rank 1: 0.2" in command.text
    assert "Traceback" not in command.text


SCRIPT = """
import sys
import torch
from torch import nn
from drivetrain.evaluator import BaseMetric
from drivetrain.runner import Runner
from drivetrain.structures import BaseDataElement

class Count(BaseMetric):
    def process(self, data_batch, data_samples):  # one result a batch, as many metrics do
        self.results.append((len(data_samples), float(torch.stack(data_samples).sum())))

    def compute_metrics(self, results):
        return {"samples": sum(n for n, _ in results), "sum": sum(x for _, x in results)}

class Same(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def val_step(self, data):
        return [*data[0], BaseDataElement(loss=data[0].mean())]  # differs between the ranks

runner = Runner(
    Same(), sys.argv[1], launcher="pytorch", val_cfg={}, val_evaluator=Count(),
    val_dataloader=dict(
        dataset=[(torch.tensor(float(i)),) for i in range(7)],
        batch_size=3,
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=dict(type="default_collate"),
    ),
)
metrics = runner.val()
loss = metrics.pop("loss")
assert metrics == {"samples": 7, "sum": 21.0}, metrics
# batches [0, 2, 4], [6] on rank 0 and [1, 3, 5], [0] on rank 1, where 0 is the repeated one
assert loss == (2.0 + 6.0 + 3.0 + 0.0) / 4, loss
"""


def test_samples_that_only_make_the_ranks_even_are_not_counted(tmp_path) -> None:
    """Seven samples on two ranks: one is repeated, and no metric may see it."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(tmp_path / "script.py"), str(tmp_path / "work")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
