"""How large and how expensive a model is: parameters, operations, activations."""

from drivetrain.model.analysis._analyzer import ActivationAnalyzer, CostAnalyzer, FlopAnalyzer
from drivetrain.model.analysis._complexity import get_model_complexity_info
from drivetrain.model.analysis._counts import (
    activation_count,
    flop_count,
    parameter_count,
    parameter_count_table,
)
from drivetrain.model.analysis._errors import AnalysisError
from drivetrain.model.analysis._report import (
    _format_size,
    complexity_stats_str,
    complexity_stats_table,
)

__all__ = [
    "ActivationAnalyzer",
    "AnalysisError",
    "CostAnalyzer",
    "FlopAnalyzer",
    "_format_size",
    "activation_count",
    "complexity_stats_str",
    "complexity_stats_table",
    "flop_count",
    "get_model_complexity_info",
    "parameter_count",
    "parameter_count_table",
]
