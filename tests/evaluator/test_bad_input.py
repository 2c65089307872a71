"""What cannot be evaluated is refused with the place to look at."""

from __future__ import annotations

import pytest

from drivetrain.evaluator import BaseMetric, Evaluator, EvaluatorConfigError, MetricOptionError


class Count(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return {"count": len(results)}


@pytest.mark.parametrize("size", [-1, "a"])
def test_a_length_that_is_none_is_refused_and_the_results_stay(size) -> None:
    metric = Count()
    metric.process(None, [1])
    with pytest.raises(MetricOptionError, match="size is the length of the dataset"):
        metric.evaluate(size)
    assert metric.results == [1]


@pytest.mark.parametrize("predictions", [None, 3])
def test_a_model_that_returns_no_predictions_is_pointed_at(predictions) -> None:
    with pytest.raises(EvaluatorConfigError, match=r"Does forward.mode='predict'. of the model"):
        Evaluator(Count()).process(predictions)
