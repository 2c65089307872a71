"""The clock of the records counts samples, though few batches are looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

SAMPLES = 23
EPOCHS = {"by_epoch": True, "max_epochs": 2}
ITERS = {"by_epoch": False, "max_iters": 7, "val_interval": 100}
TWO_PASSES = [5, 10, 15, 20, 23, 28, 33, 38, 43, 46]


def dataset() -> TensorDataset:
    return TensorDataset(torch.randn(SAMPLES, 4), torch.zeros(SAMPLES, dtype=torch.long))


class Stream(IterableDataset):
    """Data without an index; its batches may be of any size."""

    def __iter__(self):
        return iter(dataset())


def node(sampler: str) -> dict[str, Any]:
    return {
        "dataset": dataset(),
        "batch_size": 5,
        "sampler": {"type": sampler, "shuffle": True},
        "collate_fn": {"type": "default_collate"},
    }


@pytest.mark.parametrize(
    ("loader", "train_cfg", "expected"),
    [
        pytest.param(DataLoader(dataset(), batch_size=5), EPOCHS, TWO_PASSES, id="epochs"),
        pytest.param(DataLoader(dataset(), batch_size=5), ITERS, TWO_PASSES[:7], id="iterations"),
        pytest.param(node("DefaultSampler"), EPOCHS, TWO_PASSES, id="epochs, built"),
        pytest.param(node("InfiniteSampler"), ITERS, [5 * n for n in range(1, 8)], id="endless"),
        pytest.param(
            DataLoader(dataset(), batch_sampler=[[0, 1, 2], [3, 7], [4, 5, 6, 8]]),
            EPOCHS,
            [3, 5, 9, 12, 14, 18],
            id="batches of any size",
        ),
        pytest.param(DataLoader(Stream(), batch_size=5), ITERS, TWO_PASSES[:7], id="a stream"),
    ],
)
def test_records_count_every_sample(make_runner, loader, train_cfg, expected) -> None:
    runner = make_runner(
        train_dataloader=loader,
        train_cfg=train_cfg,
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1, "ignore_last": False}},
    )
    runner.train()
    (file,) = Path(runner.log_dir).rglob("scalars.json")
    assert [json.loads(line)["samples"] for line in file.read_text().splitlines()] == expected


def test_a_pass_that_ended_counts_once_where_training_goes_on_with_larger_batches(
    make_runner, tmp_path
) -> None:
    each = {
        "logger": {"type": "LoggerHook", "interval": 1},
        "checkpoint": {"type": "CheckpointHook", "interval": 1, "by_epoch": False},
    }
    common = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}
    before = make_runner(
        train_dataloader=DataLoader(dataset(), batch_size=5),
        train_cfg={"by_epoch": True, "max_epochs": 1},
        default_hooks=each,
        **common,
    )
    before.train()  # the checkpoint of its last iteration stands before the end of the epoch
    runner = make_runner(
        train_dataloader=DataLoader(dataset(), batch_size=8),
        train_cfg=EPOCHS,
        default_hooks=each,
        work_dir=str(tmp_path / "resumed"),
        resume=str(Path(before.work_dir) / "iter_5.pth"),
        **common,
    )
    runner.train()
    (file,) = Path(runner.log_dir).rglob("scalars.json")
    assert [json.loads(line)["samples"] for line in file.read_text().splitlines()] == [31, 39, 46]
