"""Evaluator: several metrics over one pass, exact on any number of ranks."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch

from drivetrain.evaluator import (
    BaseMetric,
    DuplicateMetricError,
    Evaluator,
    EvaluatorConfigError,
    LengthMismatchError,
    MetricOptionError,
    UnknownMetricError,
    build_evaluator,
    get_metric_value,
)
from drivetrain.registry import EVALUATOR, METRICS, RegistryError


@METRICS.register_module(name="TestSeen", force=True)
class Seen(BaseMetric):
    """Reports how many samples it saw, and keeps the arguments of every call."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = []

    def process(self, data_batch, data_samples):
        self.calls.append((data_batch, data_samples))
        self.results += list(data_samples)

    def compute_metrics(self, results):
        return {"seen": len(results)}


class Element:
    """Shaped like a data element."""

    def __init__(self, **fields):
        self.fields = fields

    def metainfo_items(self):
        return []

    def to_dict(self):
        return self.fields

    def to(self, device):
        return self


def test_metrics_may_be_one_or_many_objects_or_nodes():
    node = {"type": "TestSeen", "prefix": "a"}
    assert len(Evaluator(node).metrics) == 1
    assert len(Evaluator(Seen()).metrics) == 1
    assert [m.prefix for m in Evaluator([node, Seen(prefix="b")]).metrics] == ["a", "b"]


def test_values_of_all_metrics_are_put_together():
    evaluator = Evaluator([Seen(prefix="a"), Seen(prefix="b")])
    evaluator.process([1, 2])
    assert evaluator.evaluate(2) == {"a/seen": 2, "b/seen": 2}


def test_two_metrics_of_one_name_are_refused_with_both_types():
    evaluator = Evaluator([Seen(), Seen()])
    with pytest.raises(DuplicateMetricError, match=r"name 'seen': from Seen and from Seen.*prefix"):
        evaluator.evaluate(1)


def test_data_elements_reach_metrics_as_dicts():
    evaluator = Evaluator(Seen())
    evaluator.process([Element(label=1), {"label": 2}], data_batch="batch")
    assert evaluator.metrics[0].calls == [("batch", [{"label": 1}, {"label": 2}])]


def test_a_tuple_of_fields_reaches_metrics_field_by_field():
    """The guide's model returns predictions and labels as two tensors."""
    evaluator = Evaluator(Seen())
    evaluator.process(data_samples=(torch.zeros(4, 2), torch.ones(4)), data_batch=None)
    scores, labels = evaluator.metrics[0].calls[0][1]
    assert scores.shape == (4, 2)
    assert labels.shape == (4,)


def test_a_mapping_of_fields_stays_one():
    evaluator = Evaluator(Seen())
    evaluator.process({"scores": torch.zeros(4)})
    assert set(evaluator.metrics[0].calls[0][1]) == {"scores"}


def test_dataset_meta_reaches_all_metrics():
    evaluator = Evaluator([Seen(), Seen()])
    evaluator.dataset_meta = {"classes": ["a"]}
    assert evaluator.dataset_meta == {"classes": ["a"]}
    assert [m.dataset_meta for m in evaluator.metrics] == [{"classes": ["a"]}] * 2


@pytest.mark.parametrize("metric", [3, "Accuracy", object()])
def test_what_is_no_metric_is_refused(metric):
    with pytest.raises(EvaluatorConfigError, match="a metric is a BaseMetric or a node"):
        Evaluator([metric])


def test_an_unknown_metric_is_named_with_its_place():
    with pytest.raises(RegistryError, match=r"metrics\.1.*'Nope'"):
        Evaluator([{"type": "TestSeen"}, {"type": "Nope"}])


@pytest.mark.parametrize("chunk_size", [1, 2, 100])
def test_offline_evaluation_goes_chunk_by_chunk(chunk_size):
    evaluator = Evaluator(Seen())
    assert evaluator.offline_evaluate([1, 2, 3], ["a", "b", "c"], chunk_size) == {"seen": 3}
    batches = [batch for batch, _ in evaluator.metrics[0].calls]
    assert [item for batch in batches for item in batch] == ["a", "b", "c"]
    assert max(map(len, batches)) == min(chunk_size, 3)


def test_offline_evaluation_takes_iterators():
    evaluator = Evaluator(Seen())
    assert evaluator.offline_evaluate(iter([1, 2, 3]), iter("abc"), 2) == {"seen": 3}


def test_offline_evaluation_needs_no_data():
    evaluator = Evaluator(Seen())
    evaluator.offline_evaluate([Element(a=1)])
    assert evaluator.metrics[0].calls == [(None, [{"a": 1}])]


def test_offline_evaluation_refuses_data_of_another_length():
    with pytest.raises(LengthMismatchError, match="got 2 and 1"):
        Evaluator(Seen()).offline_evaluate([1, 2], ["a"])


def test_offline_evaluation_refuses_empty_chunks():
    with pytest.raises(MetricOptionError, match="chunk_size must be >= 1, got 0"):
        Evaluator(Seen()).offline_evaluate([1], chunk_size=0)


Pair = namedtuple("Pair", ["x", "y"])
PADDED = {
    "list-of-samples": ([1, 2, 3], [1, 2]),
    "tuple-of-samples": ((1, 2, 3), (1, 2)),
    "tensor": (torch.arange(3), torch.arange(2)),
    "array": (np.arange(3), np.arange(2)),
    "fields": ((torch.arange(3), [1, 2, 3]), (torch.arange(2), [1, 2])),
    "named-fields": (Pair(torch.arange(3), [1, 2, 3]), Pair(torch.arange(2), [1, 2])),
    "mapping": ({"a": [1, 2, 3], "b": {"c": torch.arange(3)}, "n": 7},
                {"a": [1, 2], "b": {"c": torch.arange(2)}, "n": 7}),
    "other-length": ([1, 2], [1, 2]),
    "unknown": (None, None),
}  # fmt: skip


@pytest.mark.parametrize(("batch", "expected"), PADDED.values(), ids=PADDED)
def test_padding_is_cut_off_whatever_a_batch_looks_like(batch, expected):
    evaluator = Evaluator(Seen())
    evaluator.process([0, 0, 0], batch, num_samples=3, num_padded=1)
    trimmed, samples = evaluator.metrics[0].calls[0]
    assert samples == [0, 0]
    assert repr(trimmed) == repr(expected)


def test_a_batch_of_padding_only_reaches_no_metric():
    evaluator = Evaluator(Seen())
    evaluator.process([1], None, num_samples=1, num_padded=1)
    assert evaluator.metrics[0].calls == []


def test_padding_without_the_number_of_samples_is_refused():
    with pytest.raises(MetricOptionError, match="num_padded needs num_samples"):
        Evaluator(Seen()).process([1], num_padded=1)


class BatchAccuracy(BaseMetric):
    """The guide's metric: one result per batch, which no gathering can cut to size."""

    def process(self, data_batch, data_samples):
        predicted, labels = data_samples
        self.results.append((len(labels), int((predicted == labels).sum())))

    def compute_metrics(self, results):
        total = sum(size for size, _ in results)
        return {"accuracy": sum(good for _, good in results) / total, "total": total}


LABELS = torch.tensor([0, 1, 1, 0, 1, 0, 0])
PREDICTED = torch.tensor([0, 0, 1, 0, 0, 1, 0])


def _accuracy_of_a_rank(world_size, batch_size):
    rank = torch.distributed.get_rank() if world_size > 1 else 0
    size = len(LABELS)
    mine = [i % size for i in range(-(-size // world_size) * world_size)][rank::world_size]
    real = -(-(size - rank) // world_size)
    evaluator = Evaluator(BatchAccuracy())
    for first in range(0, len(mine), batch_size):
        batch = mine[first : first + batch_size]
        padded = max(0, first + len(batch) - max(first, real))
        outputs = (PREDICTED[batch], LABELS[batch])
        evaluator.process(outputs, None, num_samples=len(batch), num_padded=padded)
    return evaluator.evaluate(size)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_metric_is_the_same_on_1_2_and_3_ranks_also_with_a_result_per_batch(on_ranks, batch_size):
    alone = _accuracy_of_a_rank(1, batch_size)
    assert alone == {"accuracy": 4 / 7, "total": 7}
    for world_size in (2, 3):
        answers = on_ranks(world_size, _accuracy_of_a_rank, world_size, batch_size)
        assert answers == [alone] * world_size


def test_an_evaluator_is_built_from_anything_that_describes_one():
    made = Evaluator(Seen())
    assert build_evaluator(made) is made
    node = {"type": "TestSeen"}
    for described in (node, [node], {"metrics": [node]}, {"type": "Evaluator", "metrics": node}):
        assert isinstance(build_evaluator(described), Evaluator)
    assert EVALUATOR.get("Evaluator") is Evaluator


@EVALUATOR.register_module(name="TestOwnEvaluator", force=True)
class OwnEvaluator(Evaluator):
    """A downstream evaluator."""


def test_an_evaluator_of_another_type_is_built_from_its_node():
    node = {"type": "TestOwnEvaluator", "metrics": {"type": "TestSeen"}}
    assert type(build_evaluator(node)) is OwnEvaluator


def test_what_describes_no_evaluator_is_refused():
    with pytest.raises(EvaluatorConfigError, match="an evaluator is an Evaluator, a metric"):
        build_evaluator(3)


VALUES = {"COCO/AP": 0.4, "VOC/AP": 0.5, "COCO/AR": 0.6, "accuracy": 0.9}


@pytest.mark.parametrize(("indicator", "value"), [("COCO/AP", 0.4), ("AR", 0.6), ("accuracy", 0.9)])
def test_a_value_is_found_by_full_or_by_unique_short_name(indicator, value):
    assert get_metric_value(indicator, VALUES) == value


@pytest.mark.parametrize(
    ("indicator", "text"),
    [
        ("AP", r"matches multiple metrics \['COCO/AP', 'VOC/AP'\]. Use a full name"),
        ("acuracy", "cannot match any metric in .* Did you mean 'accuracy'"),
        ("VOC/AR", "cannot match any metric"),
    ],
)
def test_a_name_that_fits_none_or_several_is_refused(indicator, text):
    with pytest.raises(UnknownMetricError, match=text):
        get_metric_value(indicator, VALUES)


def test_real_data_elements_reach_metrics_as_dicts():
    structures = pytest.importorskip("drivetrain.structures")
    evaluator = Evaluator(Seen())
    evaluator.process([structures.BaseDataElement(label=torch.tensor(3))])
    ((_, samples),) = evaluator.metrics[0].calls
    assert samples == [{"label": torch.tensor(3)}]


def test_a_negative_size_and_an_empty_list_of_predictions_are_refused():
    with pytest.raises(MetricOptionError, match="length of the dataset, got -1"):
        Evaluator(Seen()).evaluate(-1)
    with pytest.raises(MetricOptionError, match=r"got 0\. There is nothing to evaluate"):
        Evaluator(Seen()).evaluate(0)
    with pytest.raises(LengthMismatchError, match="nothing to evaluate"):
        Evaluator(Seen()).offline_evaluate([])
