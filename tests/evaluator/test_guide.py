"""The guide on metrics and evaluation, example by example, on predictions made here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drivetrain.evaluator import BaseMetric, Evaluator, build_evaluator, get_metric_value
from drivetrain.fileio import load
from drivetrain.registry import METRICS


@METRICS.register_module()
class ShareOfHits(BaseMetric):
    """How many of the samples are predicted right; keeps one entry per batch."""

    default_prefix = "hits"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        truth = [sample["gt_label"] for sample in data_samples]
        predicted = [sample["pred_label"] for sample in data_samples]
        right = int(np.sum(np.array(truth) == np.array(predicted)))
        self.results.append({"size": len(truth), "right": right})

    def compute_metrics(self, results: list[dict[str, int]]) -> dict[str, float]:
        return {"share": sum(r["right"] for r in results) / sum(r["size"] for r in results)}


@METRICS.register_module()
class MeanScore(BaseMetric):
    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        self.results += [float(sample["score"]) for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return {"mean": sum(results) / len(results)}


TRUTH, PREDICTED = [0, 1, 2, 2, 1], [0, 1, 1, 2, 0]  # three of five are right
SAMPLES = [
    {"gt_label": truth, "pred_label": predicted, "score": torch.tensor(number / 4)}
    for number, (truth, predicted) in enumerate(zip(TRUTH, PREDICTED, strict=True))
]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"type": "ShareOfHits"}, {"hits/share": 0.6}),
        (
            [{"type": "ShareOfHits"}, {"type": "MeanScore"}],
            {"hits/share": 0.6, "mean": 0.5},
        ),
        ({"type": "ShareOfHits", "prefix": "val"}, {"val/share": 0.6}),
        (
            [{"type": "ShareOfHits"}, {"type": "ShareOfHits", "prefix": "again"}],
            {"hits/share": 0.6, "again/share": 0.6},
        ),
    ],
    ids=["one", "several", "prefix", "twice"],
)
def test_metrics_of_ones_own_from_a_config(metrics: Any, expected: dict[str, float]) -> None:
    evaluator = build_evaluator(metrics)
    for batch in (SAMPLES[:2], SAMPLES[2:4], SAMPLES[4:]):
        evaluator.process(data_samples=batch, data_batch=None)
    assert evaluator.evaluate(5) == pytest.approx(expected)


def test_facts_about_the_dataset_reach_every_metric() -> None:
    evaluator = Evaluator([{"type": "ShareOfHits"}, {"type": "MeanScore"}])
    evaluator.dataset_meta = {"classes": ["a", "b", "c"]}
    assert [metric.dataset_meta["classes"][0] for metric in evaluator.metrics] == ["a", "a"]


def test_predictions_are_written_and_evaluated_on_another_day(tmp_path: Path) -> None:
    file = str(tmp_path / "predictions.pkl")
    writer = Evaluator({"type": "DumpResults", "out_file_path": file})
    writer.process(SAMPLES[:3])
    writer.process(SAMPLES[3:])
    assert writer.evaluate(5) == {}

    evaluator = Evaluator([{"type": "ShareOfHits"}, {"type": "MeanScore"}])
    values = evaluator.offline_evaluate(load(file), chunk_size=2)
    assert values == pytest.approx({"hits/share": 0.6, "mean": 0.5})
    assert get_metric_value("share", values) == values["hits/share"]


def _share_on_a_rank(batch_size: int) -> dict[str, float]:
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    evaluator = Evaluator(MeanScore())
    mine = SAMPLES[rank::world_size]
    for start in range(0, len(mine), batch_size):
        evaluator.process(mine[start : start + batch_size])
    return evaluator.evaluate(5)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_rank_is_told_the_value_of_the_whole_dataset(on_ranks: Any, world_size: int) -> None:
    assert on_ranks(world_size, _share_on_a_rank, 2) == [{"mean": 0.5}] * world_size
