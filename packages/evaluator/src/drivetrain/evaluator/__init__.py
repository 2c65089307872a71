"""Evaluation: metrics, and the evaluator that gathers them over a dataset and over ranks."""

from drivetrain.evaluator.__about__ import __version__
from drivetrain.evaluator._data_element import to_cpu as _to_cpu  # noqa: F401  # used downstream
from drivetrain.evaluator._errors import (
    DuplicateMetricError,
    EmptyResultsError,
    EvaluatorConfigError,
    EvaluatorError,
    LengthMismatchError,
    MetricOptionError,
    MetricResultError,
    UnknownMetricError,
)
from drivetrain.evaluator._evaluator import Evaluator, build_evaluator
from drivetrain.evaluator._indicator import get_metric_value
from drivetrain.evaluator._metric import BaseMetric, DumpResults

__all__ = [
    "BaseMetric",
    "DumpResults",
    "DuplicateMetricError",
    "EmptyResultsError",
    "Evaluator",
    "EvaluatorConfigError",
    "EvaluatorError",
    "LengthMismatchError",
    "MetricOptionError",
    "MetricResultError",
    "UnknownMetricError",
    "__version__",
    "build_evaluator",
    "get_metric_value",
]
