"""Sums over a history that do not depend on when, or how often, somebody asks for them."""

from __future__ import annotations

from array import array
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BLOCK = 1024  # entries; a block is summed alone, then added: always in the same order


@dataclass
class Totals:
    """What is known of the first ``length`` entries of a history after they are gone."""

    length: int = 0
    weighted_sum: float = 0.0
    count: float = 0.0
    minimum: float = float("inf")
    maximum: float = float("-inf")

    def add(self, values: array[float], counts: array[float], start: int, stop: int) -> None:
        """Take in the entries from ``start`` to ``stop``, block by block."""
        import numpy as np  # heavy: who only writes a log, or a line, does not pay for it

        value_view, count_view = np.frombuffer(values), np.frombuffer(counts)
        for begin in range(start, stop, BLOCK):
            block = value_view[begin : min(begin + BLOCK, stop)]
            self.weighted_sum += float(block.sum())
            self.count += float(count_view[begin : min(begin + BLOCK, stop)].sum())
            # numpy's, not Python's: a nan has to stay visible
            self.minimum = float(np.minimum(self.minimum, block.min()))
            self.maximum = float(np.maximum(self.maximum, block.max()))
        self.length += stop - start

    def copy(self) -> Totals:
        """Return totals that can grow on their own."""
        return Totals(**asdict(self))


def newest(series: array[float], window: int) -> np.ndarray:
    """Return a copy of the last ``window`` entries: a view would forbid the array to grow."""
    import numpy as np  # heavy: see above

    return np.array(series[max(len(series) - window, 0) :], dtype=np.float64)
