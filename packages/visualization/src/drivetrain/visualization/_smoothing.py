"""How a noisy curve goes on the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Moments(NamedTuple):
    """Sums over the values on one side of a place, weighted down by their distance from it."""

    count: float = 0.0
    distance: float = 0.0
    distance_squared: float = 0.0
    value: float = 0.0
    value_distance: float = 0.0

    def moved_on(self, keep: float, value: float) -> Moments:
        """Return the sums one place further, with the value of that place."""
        known = math.isfinite(value)
        return Moments(
            keep * self.count + known,
            keep * (self.distance + self.count),
            keep * (self.distance_squared + 2 * self.distance + self.count),
            keep * self.value + (value if known else 0.0),
            keep * (self.value_distance + self.value),
        )


def smoothed(values: Sequence[float], span: float) -> list[float]:
    """Return, at each place, the line that fits the values around it best.

    A mean would lag behind a slope at both ends, where a loss falls most; a line does not.

    Args:
        values: Not all of them need be finite.
        span: About how many values count, on each side.

    Example:
        >>> [round(value, 3) for value in smoothed([3.0, 2.0, 1.0, 0.0], span=3.0)]
        [3.0, 2.0, 1.0, 0.0]
        >>> [round(value, 2) for value in smoothed([0.0, 0.0, 8.0, 0.0, 0.0], span=3.0)]
        [0.17, 1.35, 3.2, 1.35, 0.17]
    """
    keep = 1 - 2 / (span + 1)
    past = _one_sided(values, keep)
    future = _one_sided(values[::-1], keep)[::-1]
    return [_fit(*around) for around in zip(values, past, future, strict=True)]


def _one_sided(values: Sequence[float], keep: float) -> list[Moments]:
    moments, result = Moments(), []
    for value in values:
        moments = moments.moved_on(keep, value)
        result.append(moments)
    return result


def _fit(value: float, past: Moments, future: Moments) -> float:
    known = math.isfinite(value)  # a known value is in both sums
    count = past.count + future.count - known
    total = past.value + future.value - (value if known else 0.0)
    if not count:
        return math.nan
    # Distances of the past are negative: the line is fitted over both sides at once.
    slope_sum = future.distance - past.distance
    squares = past.distance_squared + future.distance_squared
    slope_total = future.value_distance - past.value_distance
    determinant = count * squares - slope_sum**2
    if determinant < 1e-9 * count * count:
        return total / count
    return (squares * total - slope_sum * slope_total) / determinant
