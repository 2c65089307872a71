"""Several metrics over one pass through a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

from torch import Tensor

from drivetrain.evaluator._data_element import is_data_element
from drivetrain.evaluator._errors import (
    DuplicateMetricError,
    EvaluatorConfigError,
    LengthMismatchError,
    MetricOptionError,
)
from drivetrain.evaluator._metric import BaseMetric
from drivetrain.evaluator._trim import first_samples
from drivetrain.evaluator._updated_metric import UpdatableMetric, UpdatedMetric
from drivetrain.registry import EVALUATOR, METRICS, building

MetricOrNode = Mapping[str, Any] | BaseMetric | UpdatableMetric


@EVALUATOR.register_module()
class Evaluator:
    """Feed every batch to several metrics, and put their values together.

    Args:
        metrics: A metric or its node, or a sequence of them. Metrics with ``update``, ``compute``
            and ``reset``, such as those of torchmetrics, may stand among them as they are.

    Raises:
        EvaluatorConfigError: If one of them is neither.

    Example:
        >>> evaluator = Evaluator(dict(type="DumpResults", out_file_path="predictions.pkl"))
        >>> [type(metric).__name__ for metric in evaluator.metrics]
        ['DumpResults']
    """

    def __init__(self, metrics: MetricOrNode | Sequence[MetricOrNode]) -> None:
        self._dataset_meta: dict[str, Any] | None = None
        if not isinstance(metrics, (list, tuple)):
            self.metrics: list[Any] = [_built(metrics)]
            return
        self.metrics = []
        for position, metric in enumerate(metrics):
            with building(f"metrics[{position}]"):
                self.metrics.append(_built(metric))

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Meta information of the dataset; setting it tells all metrics."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any] | None) -> None:
        self._dataset_meta = dataset_meta
        for metric in self.metrics:
            metric.dataset_meta = dataset_meta

    def process(
        self,
        data_samples: Sequence[Any],
        data_batch: Any = None,
        *,
        num_samples: int | None = None,
        num_padded: int = 0,
    ) -> None:
        """Give one batch to all metrics.

        Args:
            data_samples: What the model returned; data elements are turned into dicts.
            data_batch: What the loader yielded.
            num_samples: Samples in the batch; needed where ``num_padded`` is not 0.
            num_padded: How many at its end only repeat others to make the ranks even (see
                ``drivetrain.dataset.batch_extent``). They are cut off before a metric sees them, so
                that metrics which keep one result per *batch* are exact too.

        Raises:
            MetricOptionError: If ``num_padded`` is given without ``num_samples``.
            EvaluatorConfigError: If ``data_samples`` is ``None`` or a number.
        """
        if num_padded:
            if num_samples is None:
                raise MetricOptionError("Evaluator.process: num_padded needs num_samples too")
            keep = num_samples - num_padded
            if keep <= 0:
                return
            data_samples = first_samples(data_samples, keep, num_samples)
            data_batch = first_samples(data_batch, keep, num_samples)
        if data_samples is None or isinstance(data_samples, (int, float)):
            raise EvaluatorConfigError(
                "Evaluator.process: data_samples holds the predictions for one batch, got "
                f"{data_samples!r}. Does forward(mode='predict') of the model return them?"
            )
        samples = _as_dicts(data_samples)
        for metric in self.metrics:
            metric.process(data_batch, samples)

    def evaluate(self, size: int) -> dict[str, Any]:
        """The values of all metrics. Called on all ranks, after the last batch.

        Args:
            size: Length of the dataset.

        Returns:
            Names and values, the same on every rank, in the order of the metrics.

        Raises:
            DuplicateMetricError: If two metrics use one name.
            MetricOptionError: If ``size`` is below 1.
        """
        if size < 1:
            raise MetricOptionError(
                f"Evaluator.evaluate: size is the length of the dataset, got {size}."
                + ("" if size else " There is nothing to evaluate: check the dataset's filters.")
            )
        values: dict[str, Any] = {}
        owner: dict[str, Any] = {}
        for metric in self.metrics:
            for name, value in metric.evaluate(size).items():
                if name in values:
                    raise DuplicateMetricError(
                        "There are multiple evaluation results with the same metric name "
                        f"{name!r}: from {_kind(owner[name])} and from {_kind(metric)}. "
                        + _remedy(metric)
                    )
                values[name], owner[name] = value, metric
        return values

    def offline_evaluate(
        self, data_samples: Iterable[Any], data: Iterable[Any] | None = None, chunk_size: int = 1
    ) -> dict[str, Any]:
        """Evaluate predictions that were made earlier, for example those of ``DumpResults``.

        Args:
            data_samples: Predictions (with their ground truth) of the whole dataset.
            data: The samples they belong to, where a metric needs them.
            chunk_size: Samples given to the metrics at a time.

        Returns:
            As ``evaluate``.

        Raises:
            LengthMismatchError: If ``data_samples`` is empty, or ``data`` has another length.
            MetricOptionError: If ``chunk_size`` is below 1.
        """
        if chunk_size < 1:
            raise MetricOptionError(f"offline_evaluate: chunk_size must be >= 1, got {chunk_size}")
        data_samples = _sequence(data_samples)
        data = None if data is None else _sequence(data)
        if data is not None and len(data) != len(data_samples):
            raise LengthMismatchError(
                "offline_evaluate: data_samples and data should have the same length, got "
                f"{len(data_samples)} and {len(data)}"
            )
        if not len(data_samples):
            raise LengthMismatchError(
                "offline_evaluate: data_samples is empty, so there is nothing to evaluate. Were "
                "the predictions written?"
            )
        for start in range(0, len(data_samples), chunk_size):
            chunk = slice(start, start + chunk_size)
            self.process(data_samples[chunk], None if data is None else data[chunk])
        return self.evaluate(len(data_samples))


def _sequence(values: Iterable[Any]) -> Sequence[Any]:
    """``values`` as something with a length and slices; what has them is not copied."""
    if isinstance(values, Sized) and hasattr(values, "__getitem__"):
        return values  # type: ignore[return-value]  # a dataset or array need not be a Sequence
    return list(values)


def _built(metric: Any) -> Any:
    built = METRICS.build(metric) if isinstance(metric, Mapping) else metric
    if isinstance(built, UpdatableMetric) and not hasattr(built, "process"):
        return UpdatedMetric(built)
    if isinstance(built, type) or not (
        callable(getattr(built, "process", None)) and callable(getattr(built, "evaluate", None))
    ):
        raise EvaluatorConfigError(
            "a metric is a BaseMetric or a node of one, with methods `process` and `evaluate`; "
            f"got {type(built).__name__}: {metric!r}"
        )
    return built


def _kind(metric: Any) -> str:
    return type(metric.metric if isinstance(metric, UpdatedMetric) else metric).__name__


def _remedy(metric: Any) -> str:
    if isinstance(metric, UpdatedMetric):
        return f"Name them: torchmetrics.MetricCollection({{'...': {_kind(metric)}(...)}})."
    return f"Give them different prefixes: dict(type={_kind(metric)!r}, prefix='...')."


def _as_dicts(data_samples: Any) -> Any:
    """Data elements as dicts; a mapping of fields stays what it is."""
    if type(data_samples) is Tensor and data_samples.ndim:  # asking for the rest takes a while
        return list(data_samples.unbind())
    if isinstance(data_samples, Mapping) or data_samples is None:
        return data_samples
    if is_data_element(data_samples):
        return data_samples.to_dict()
    if isinstance(data_samples, Tensor) and data_samples.ndim:
        return list(data_samples.unbind())  # rows, which are no elements
    return [sample.to_dict() if is_data_element(sample) else sample for sample in data_samples]


def build_evaluator(evaluator: Any) -> Any:
    """An evaluator from itself, its node, a metric's node, or a list of those.

    Args:
        evaluator: An ``Evaluator``; a node with ``metrics`` (its ``type`` is ``Evaluator`` unless
            given); a metric or its node; or a sequence of these.

    Returns:
        An ``Evaluator``, or the object given if that evaluates in its own way.

    Raises:
        EvaluatorConfigError: If it is none of them.
    """
    if isinstance(evaluator, Evaluator):
        return evaluator
    if isinstance(evaluator, Mapping) and "metrics" in evaluator:
        return EVALUATOR.build({"type": "Evaluator", **evaluator})
    if hasattr(evaluator, "offline_evaluate"):  # an evaluator of another making
        return evaluator
    if isinstance(evaluator, (Mapping, list, tuple, UpdatableMetric)) or hasattr(
        evaluator, "evaluate"
    ):
        return Evaluator(evaluator)
    raise EvaluatorConfigError(
        "an evaluator is an Evaluator, a metric, a list of metrics, or a node of these; got "
        f"{type(evaluator).__name__}: {evaluator!r}"
    )
