"""Finding one value in the table that an evaluator returns."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from drivetrain.evaluator._errors import UnknownMetricError


def get_metric_value(indicator: str, metrics: Mapping[str, Any]) -> Any:
    """The value that ``indicator`` names.

    Args:
        indicator: A full name (``'COCO/AP'``), or the part after the prefix (``'AP'``) where only
            one metric has it.
        metrics: What ``Evaluator.evaluate`` returned.

    Raises:
        UnknownMetricError: If no name matches, or more than one does.

    Example:
        >>> get_metric_value("AP", {"COCO/AP": 0.4, "accuracy": 0.9})
        0.4
    """
    if indicator in metrics:
        return metrics[indicator]
    matched = [] if "/" in indicator else [m for m in metrics if m.split("/")[-1] == indicator]
    if len(matched) == 1:
        return metrics[matched[0]]
    if matched:
        raise UnknownMetricError(
            f"the indicator {indicator!r} matches multiple metrics {matched}. Use a full name."
        )
    near = get_close_matches(indicator, metrics, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownMetricError(
        f"the indicator {indicator!r} cannot match any metric in {list(metrics)}.{hint}"
    )
