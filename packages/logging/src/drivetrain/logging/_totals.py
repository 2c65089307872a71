"""Sums over a history that do not depend on when, or how often, somebody asks for them."""

from __future__ import annotations

from array import array
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BLOCK = 1024  # entries that are taken in at once; sums do not depend on it


@dataclass
class Totals:
    """What is known of the first ``length`` entries of a history after they are gone."""

    length: int = 0
    weighted_sum: float = 0.0
    count: float = 0.0
    minimum: float = float("inf")
    maximum: float = float("-inf")

    def add(self, values: array[float], counts: array[float], start: int, stop: int) -> None:
        """Take in the entries from ``start`` to ``stop``, one after the other.

        So sums are the same bit for bit wherever a history was cut: at a block, or by a resume.
        """
        if start >= stop:
            return
        import numpy as np  # heavy: who only writes a log, or a line, does not pay for it

        # Of copies: while somebody looks at an array itself, another thread cannot append to it.
        part = np.frombuffer(values[start:stop])
        self.weighted_sum = _add_in_order(self.weighted_sum, part)
        self.count = _add_in_order(self.count, np.frombuffer(counts[start:stop]))
        # numpy's, not Python's: a nan has to stay visible
        self.minimum = float(np.minimum(self.minimum, part.min()))
        self.maximum = float(np.maximum(self.maximum, part.max()))
        self.length += stop - start

    def copy(self) -> Totals:
        """Return totals that can grow on their own."""
        return Totals(**asdict(self))


def _add_in_order(total: float, part: np.ndarray) -> float:
    """Add as a loop would; ``sum`` of numpy and of Python add in an order of their own."""
    import numpy as np  # heavy: see above

    return float(np.add.accumulate(np.concatenate(([total], part)))[-1])


def newest(series: array[float], window: int) -> np.ndarray:
    """Return a copy of the last ``window`` entries: a view would forbid the array to grow."""
    import numpy as np  # heavy: see above

    return np.array(series[max(len(series) - window, 0) :], dtype=np.float64)
