"""What can go wrong between predictions and a table of metrics.

EvaluatorError
├── EvaluatorConfigError  (TypeError)   what stands for a metric or an evaluator is none
├── MetricOptionError     (ValueError)  an option of a metric contradicts another, or is unknown
├── MetricResultError     (TypeError)   a metric did not return a mapping of values
├── EmptyResultsError     (ValueError)  a metric cannot compute, for it kept no results
├── DuplicateMetricError  (ValueError)  two metrics report a value under one name
├── UnknownMetricError    (ValueError)  no value, or more than one, goes by the name asked for
└── LengthMismatchError   (ValueError)  predictions and data have different lengths
"""

from __future__ import annotations


class EvaluatorError(Exception):
    """Root of everything that this package raises on purpose."""


class EvaluatorConfigError(EvaluatorError, TypeError):
    """What stands for a metric or an evaluator is none."""


class MetricOptionError(EvaluatorError, ValueError):
    """An option of a metric is unknown, or contradicts another."""


class MetricResultError(EvaluatorError, TypeError):
    """A metric did not return a mapping of names to values."""


class EmptyResultsError(EvaluatorError, ValueError):
    """A metric cannot compute its values, for its ``process`` kept no results."""


class DuplicateMetricError(EvaluatorError, ValueError):
    """Two metrics report a value under one name."""


class UnknownMetricError(EvaluatorError, ValueError):
    """No value, or more than one, goes by the name asked for."""


class LengthMismatchError(EvaluatorError, ValueError):
    """Predictions and data that belong together have different lengths."""
