"""Metrics with ``update``, ``compute`` and ``reset`` stand among ours as they are."""

from __future__ import annotations

import pytest
import torch

from drivetrain.evaluator import DuplicateMetricError, Evaluator, MetricResultError, build_evaluator


class Share:
    """The share of right answers, in the manner of torchmetrics."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.right = self.total = 0

    def update(self, preds, target):
        self.right += int((preds == target).sum())
        self.total += len(target)

    def compute(self):
        return torch.tensor(self.right / self.total)


class Several(Share):
    def compute(self):
        return {"right": self.right, "each": torch.tensor([1.0, 2.0])}


class Silent(Share):
    def compute(self):
        return None


PREDS, TARGET = torch.tensor([0, 1, 1, 1]), torch.tensor([0, 1, 0, 1])
BATCHES = {
    "fields": (PREDS, TARGET),
    "mapping": {"preds": PREDS, "target": TARGET},
    "samples": [{"preds": p, "target": t} for p, t in zip(PREDS, TARGET, strict=True)],
    "numbers": [{"preds": int(p), "target": int(t)} for p, t in zip(PREDS, TARGET, strict=True)],
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_update_is_called_with_the_fields_of_the_batch(batch):
    evaluator = Evaluator(Share())
    evaluator.process(batch)
    assert evaluator.evaluate(4) == {"Share": 0.75}


def test_the_state_is_reset_after_an_evaluation():
    evaluator = build_evaluator([Share()])
    for _ in range(2):
        evaluator.process((PREDS, TARGET))
        assert evaluator.evaluate(4) == {"Share": 0.75}


def test_several_values_keep_their_names_and_become_plain():
    evaluator = Evaluator(Several())
    evaluator.process((PREDS, TARGET))
    assert evaluator.evaluate(4) == {"right": 3, "each": [1.0, 2.0]}


def test_padding_reaches_them_neither():
    evaluator = Evaluator(Share())
    evaluator.process((PREDS, TARGET), num_samples=4, num_padded=2)
    assert evaluator.evaluate(2) == {"Share": 1.0}


def test_a_metric_without_a_value_is_an_error():
    with pytest.raises(MetricResultError, match=r"Silent\.compute returned no value"):
        Evaluator(Silent()).evaluate(1)


def test_two_of_one_name_are_told_how_to_be_named():
    evaluator = Evaluator([Share(), Share()])
    evaluator.process((PREDS, TARGET))
    with pytest.raises(DuplicateMetricError, match=r"from Share and from Share.*MetricCollection"):
        evaluator.evaluate(4)


SCORES = torch.tensor([0.9, 0.2, 0.6, 0.7, 0.1, 0.3, 0.8])
LABELS = torch.tensor([1, 0, 0, 1, 0, 1, 1])


def _metrics_of_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics")
    return [
        torchmetrics.MetricCollection(
            [torchmetrics.Accuracy("binary"), torchmetrics.F1Score("binary")]
        ),
        torchmetrics.AUROC("binary"),  # keeps lists of everything it saw
        torchmetrics.MeanSquaredError(),
    ]


def _values_of_a_rank(number):
    world_size = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    rank = torch.distributed.get_rank() if world_size > 1 else 0
    evaluator = Evaluator(_metrics_of_torchmetrics())
    for _ in range(2):  # the second evaluation starts from nothing
        for start in range(rank, number, 2 * world_size):
            batch = slice(start, min(start + 2 * world_size, number), world_size)
            evaluator.process((SCORES[batch], LABELS[batch]))
        values = evaluator.evaluate(number)
    return values


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("number", [7, 2, 1])
def test_metrics_of_torchmetrics_are_exact_over_ranks_with_and_without_samples(
    on_ranks, world_size, number
):
    pytest.importorskip("torchmetrics")
    alone = _values_of_a_rank(number)
    for values in on_ranks(world_size, _values_of_a_rank, number):
        assert values == pytest.approx(alone)


def test_a_metric_of_torchmetrics_is_built_from_a_node():
    pytest.importorskip("torchmetrics")
    evaluator = build_evaluator({"type": "torchmetrics.Accuracy", "task": "binary"})
    evaluator.process((PREDS, TARGET))
    assert evaluator.evaluate(4) == {"BinaryAccuracy": 0.75}
