"""The history of one logged scalar, and statistics over its windows."""

from __future__ import annotations

import difflib
import logging
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import asdict
from math import inf, nan
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from drivetrain.logging._errors import (
    ScalarError,
    ScalarValueError,
    StateError,
    UnknownStatisticError,
)
from drivetrain.logging._logger import print_log
from drivetrain.logging._scalar import as_scalar, number_here
from drivetrain.logging._totals import BLOCK, Totals, newest
from drivetrain.logging._waiting import Waiting, settle

if TYPE_CHECKING:
    import numpy as np

    from drivetrain.logging._scalar import Scalar

StatisticT = TypeVar("StatisticT", bound=Callable[..., Any])

SHORT = 64  # entries up to which Python adds quicker than NumPy starts
RECENT = 8 * BLOCK  # entries that stay out of the totals, so that a state can hold them
UNASKED = 64  # entries that a state holds for windows that nobody has asked for yet
UNREAD = BLOCK  # the same, where nobody has asked for anything yet: the first reader may want more


class HistoryBuffer:
    """Values of one scalar in the order in which they were logged, each with a count.

    Appending takes the same time however long the history is. A tensor on an accelerator is kept,
    detached, and becomes a number when somebody reads; until then nothing waits for its device. If
    it was changed in place in the meantime, the log shows the changed number, and a warning: log a
    clone of it.

    The newest ``max_length`` entries are kept. Statistics over the whole history (no window, or one
    as long as everything ever logged) go on counting the entries that were dropped.

    Args:
        log_history: Values to begin with.
        count_history: Their counts; a mean is the sum of the values over the sum of the counts.
        max_length: How many entries a window can reach back.

    Raises:
        ScalarValueError: If the two histories differ in length, or ``max_length`` is below 1.

    Example:
        >>> losses = HistoryBuffer([3, 2, 2], [1, 1, 1])
        >>> losses.update(1)
        >>> print(losses.mean(2), losses.max(), losses.statistics("current"))
        1.5 3.0 1.0
    """

    def __init__(
        self,
        log_history: Sequence[Any] = (),
        count_history: Sequence[Any] = (),
        max_length: int = 1_000_000,
    ) -> None:
        if max_length < 1:
            raise ScalarValueError(
                f"HistoryBuffer: max_length must be at least 1, got {max_length}"
            )
        self._max_length = max_length
        self._widest = 0  # the longest window that was asked for
        self._asked_at: int | None = None  # entries logged when a window was asked for last
        self._is_within_window = False  # while a statistic works that was given its window
        self._restart(Totals(), log_history, count_history)

    def _restart(self, before: Totals, values: Sequence[Any], counts: Sequence[Any]) -> None:
        """Hold these entries, after the ones that ``before`` sums up."""
        if len(values) != len(counts):
            raise ScalarValueError(
                "HistoryBuffer: each value needs a count, "
                f"got {len(values)} values and {len(counts)} counts"
            )
        self._values = array("d")
        self._counts = array("d")
        self._waiting = Waiting(self._values)
        self._waiting_counts = Waiting(self._counts)
        self._waits = False  # whether one of the two does: asked with every statistic
        self._overwriting_reported = False
        self._siblings: Mapping[str, HistoryBuffer] = {}  # settled along, in the same transfer
        self._inbox: Sized = ()  # what its hub has not handed out yet
        self._hand_out: Callable[[], None] = _nothing
        self._before = before  # sums up the oldest entries, stored or not, but not the recent ones
        self._dropped = before.length  # entries that are not stored any more
        self._trim_to = max(self._max_length, RECENT + BLOCK)
        # Moving everything costs too much for each entry; once every quarter it is nothing.
        self._trim_at = self._trim_to + self._trim_to // 4
        if hasattr(values, "tolist") and hasattr(counts, "tolist"):
            self._values.extend(values.tolist())  # arrays and tensors may be long
            self._counts.extend(counts.tolist())
        else:
            for value, count in zip(values, counts, strict=True):
                self.update(value, count)
        if len(self._values) > self._trim_at:
            self._trim()

    def update(self, log_val: Any, count: Any = 1) -> None:
        """Append a value, and how much it counts for in a mean.

        Args:
            log_val: A number, a numpy scalar, or a tensor of one element.
            count: Its weight, of the same types.

        Raises:
            ScalarTypeError: If one of them is no number.
            ScalarValueError: If one of them holds several numbers.
        """
        if self._inbox:
            self._hand_out()
        number = number_here(log_val)
        if number is not None and type(count) is int:
            self.append(number, count)
        elif self._append_of_any_kind(as_scalar(log_val), as_scalar(count)):
            self._settle()

    def append(self, number: float, count: float) -> None:
        """Append numbers that nobody has to check or to wait for."""
        self._values.append(number)
        self._counts.append(count)
        if len(self._values) > self._trim_at:
            self._trim()

    def extend(self, numbers: array[float]) -> None:
        """Append several numbers, which count once each."""
        self._values.extend(numbers)
        self._counts.extend(array("d", [1.0]) * len(numbers))
        if len(self._values) > self._trim_at:
            self._trim()

    def _append_of_any_kind(self, scalar: Scalar, weight: Scalar) -> bool:
        """Append what ``as_scalar`` returned; say whether so many tensors wait that it is time."""
        is_time = False
        for number, series, waiting in (
            (scalar, self._values, self._waiting),
            (weight, self._counts, self._waiting_counts),
        ):
            if isinstance(number, float):
                series.append(number)
            else:
                self._waits = True
                is_time |= waiting.add(number)
        return is_time

    def _settle(self) -> None:
        """Take in what the hub has for this history, and turn waiting tensors into numbers."""
        if self._inbox:
            self._hand_out()
        self._read_waiting()

    def _read_waiting(self) -> None:
        """Turn waiting tensors into numbers; those of the hub's other scalars in the same go."""
        if self._waits:
            buffers = {id(self): self, **{id(other): other for other in self._siblings.values()}}
            waitings = [
                waiting
                for buffer in buffers.values()
                for waiting in (buffer._waiting, buffer._waiting_counts)
                if waiting
            ]
            settle(waitings)
            for buffer in buffers.values():
                buffer._waits = False
            if any(waiting.overwritten for waiting in waitings):
                self._report_overwritten()

    def _report_overwritten(self) -> None:
        for key, buffer in (self._siblings or {"a scalar": self}).items():
            if buffer._waiting.overwritten and not buffer._overwriting_reported:
                buffer._overwriting_reported = True
                print_log(
                    f"{key}: a logged tensor was changed in place before its number was read, so "
                    "the log shows the changed number. Log a clone: value.detach().clone().",
                    logger="current",
                    level=logging.WARNING,
                )

    def _sum_up(self) -> None:
        """Let the totals follow, so that only the recent entries stay outside of them."""
        logged = self._dropped + len(self._values)
        blocks = (logged - RECENT - self._before.length) // BLOCK
        if blocks > 0:
            start = self._before.length - self._dropped
            self._before.add(self._values, self._counts, start, start + blocks * BLOCK)

    def _trim(self) -> None:
        self._read_waiting()
        self._sum_up()
        excess = len(self._values) - self._trim_to
        del self._values[:excess]
        del self._counts[:excess]
        self._dropped += excess

    def _everything(self) -> Totals:
        """Return the totals over all that was ever logged."""
        self._sum_up()
        totals = self._before.copy()
        start = totals.length - self._dropped
        totals.add(self._values, self._counts, start, len(self._values))
        return totals

    def _reach(self, window_size: int | None) -> int | None:
        """Return how many stored entries a window covers; None: all that was ever logged."""
        if window_size is not None and window_size < 1:
            raise ScalarValueError(
                f"HistoryBuffer: window_size must be at least 1, got {window_size}"
            )
        if self._inbox or self._waits:
            self._settle()
        if not self._values:
            raise ScalarValueError("HistoryBuffer: nothing was logged yet, so it has no statistics")
        self._ask(window_size or 0)
        if window_size is None or window_size >= self._dropped + len(self._values):
            return None
        return min(window_size, self._max_length)

    def _ask(self, window_size: int) -> None:
        """Note what is read of this history: a state holds what the same reader needs later."""
        self._asked_at = self._dropped + len(self._values)
        # A window over all that was logged is read from the totals: it needs no entries.
        if window_size > self._widest and window_size != self._asked_at:
            self._widest = window_size

    def mean(self, window_size: int | None = None) -> np.float64:
        """Return the sum of the last values over the sum of their counts.

        Args:
            window_size: How many entries to look at; all by default.

        Raises:
            ScalarValueError: If nothing was logged, or the window is below 1.
        """
        import numpy as np  # heavy: only readers pay for it

        return np.float64(self.recent_mean(window_size))

    def recent_mean(self, window_size: int | None = None) -> float:
        """Return what :meth:`mean` does as a plain float; a log line asks that of each figure."""
        reach = self._reach(window_size)
        if reach is None:
            totals = self._everything()
            total, count = totals.weighted_sum, totals.count
        elif reach <= SHORT:
            total, count = sum(self._values[-reach:]), sum(self._counts[-reach:])
        else:
            total, count = newest(self._values, reach).sum(), newest(self._counts, reach).sum()
        if count:
            return float(total / count)
        return total * inf if total else nan  # as NumPy divides by zero

    def max(self, window_size: int | None = None) -> np.float64:
        """Return the largest of the last ``window_size`` values, of all by default."""
        reach = self._reach(window_size)
        if reach is None:
            import numpy as np  # heavy: only readers pay for it

            return np.float64(self._everything().maximum)
        return newest(self._values, reach).max()

    def min(self, window_size: int | None = None) -> np.float64:
        """Return the smallest of the last ``window_size`` values, of all by default."""
        reach = self._reach(window_size)
        if reach is None:
            import numpy as np  # heavy: only readers pay for it

            return np.float64(self._everything().minimum)
        return newest(self._values, reach).min()

    def current(self) -> np.float64:
        """Return the value that was logged last."""
        import numpy as np  # heavy: only readers pay for it

        return np.float64(self.latest())

    def latest(self) -> float:
        """Return what :meth:`current` does as a plain float."""
        self._reach(None)
        return self._values[-1]

    @property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """The newest ``max_length`` values, and their counts; copies, in float64."""
        return self._log_history, self._count_history

    # The two names below are documented: registered statistics read them.
    @property
    def _log_history(self) -> np.ndarray:
        self._settle()
        if not self._is_within_window:  # who reads everything may look at all of it again
            self._ask(RECENT)
        return newest(self._values, self._max_length)

    @property
    def _count_history(self) -> np.ndarray:
        self._settle()
        return newest(self._counts, self._max_length)

    def __len__(self) -> int:
        if self._inbox:
            self._hand_out()
        return min(len(self._values), self._max_length)

    def __repr__(self) -> str:
        shown = f"{len(self)} entries"
        if self._values and not self._waits:
            shown += f", last {self._values[-1]:.6g}"
        return f"{type(self).__name__}({shown})"

    _statistics_methods: ClassVar[dict[str, Callable[..., Any]]] = {
        "mean": mean,
        "max": max,
        "min": min,
        "current": current,
    }

    @classmethod
    def register_statistics(cls, method: StatisticT) -> StatisticT:
        """Let ``statistics`` find a function, by its name; a decorator.

        Args:
            method: Takes the buffer first, then what is given to ``statistics``.

        Raises:
            ScalarError: If another function has that name already.

        Example:
            >>> @HistoryBuffer.register_statistics
            ... def spread(buffer: HistoryBuffer, window_size: int) -> float:
            ...     return float(buffer.max(window_size) - buffer.min(window_size))
            >>> HistoryBuffer([4, 1, 2], [1, 1, 1]).statistics("spread", 2)
            1.0
        """
        known = cls._statistics_methods.get(method.__name__)
        if known is not None and _origin(known) != _origin(method):
            raise ScalarError(
                f"HistoryBuffer: the statistic {method.__name__!r} is registered already, "
                f"by {'.'.join(_origin(known))}. Give yours another name."
            )
        cls._statistics_methods[method.__name__] = method
        return method

    def statistics(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a statistic by its name.

        Raises:
            UnknownStatisticError: If no statistic is registered under that name.
        """
        method = self._statistics_methods.get(method_name)
        if method is None:
            known = sorted(self._statistics_methods)
            nearest = difflib.get_close_matches(method_name, known, n=1)
            raise UnknownStatisticError(
                f"HistoryBuffer: no statistic {method_name!r}.\n"
                + (f"  Did you mean:  {nearest[0]!r}\n" if nearest else "")
                + f"  Registered:    {', '.join(known)}\n"
                "  Your own?      Decorate it with @HistoryBuffer.register_statistics."
            )
        window_size = kwargs.get("window_size", args[0] if args else None)
        if type(window_size) is not int or window_size < 1:
            return method(self, *args, **kwargs)
        self._settle()
        self._ask(window_size)
        self._is_within_window = True
        try:
            return method(self, *args, **kwargs)
        finally:
            self._is_within_window = False

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, however long the run is.

        The entries that the windows of this run reach come one by one: as many as the longest
        window that was asked for (at least 64, at most 8,192), and those since the last question;
        1,024 if nobody has asked for any.
        Older ones come as their sums and extremes, so statistics over everything go on exactly.

        Returns:
            Plain numbers, and tensors where torch is loaded (lists otherwise).
        """
        self._settle()
        self._sum_up()
        before = self._before.copy()
        start = max(len(self._values) - self._needed(), before.length - self._dropped)
        before.add(self._values, self._counts, before.length - self._dropped, start)
        counts = self._counts[start:]
        all_one = counts.count(1.0) == len(counts)
        return {
            "values": _portable(self._values[start:]),
            "counts": None if all_one else _portable(counts),
            "before": asdict(before),
            "max_length": self._max_length,
            "widest": self._widest,
            "asked_at": self._asked_at,
        }

    def _needed(self) -> int:
        """How many of the newest entries the next question may reach."""
        if self._asked_at is None:
            return UNREAD
        since = self._dropped + len(self._values) - self._asked_at
        return min(max(self._widest, UNASKED) + since, RECENT)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the buffer stood that gave ``state``.

        Raises:
            StateError: If ``state`` is none of a history buffer.
        """
        try:
            self._max_length = int(state["max_length"])
            values, counts = state["values"], state["counts"]
            before = Totals(**state["before"])
            self._widest, self._asked_at = state.get("widest", 0), state.get("asked_at")
        except (KeyError, TypeError) as err:
            raise StateError(
                f"this is no state of a HistoryBuffer: {type(state).__name__} "
                f"with {sorted(state) if isinstance(state, Mapping) else 'no keys'}"
            ) from err
        self._restart(before, values, array("d", [1.0]) * len(values) if counts is None else counts)

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return {
            "max_length": self._max_length,
            "values": self._values,
            "counts": self._counts,
            "before": self._before,
            "dropped": self._dropped,
            "asked": (self._widest, self._asked_at),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._max_length = state["max_length"]
        self._widest, self._asked_at = state["asked"]
        self._is_within_window = False
        self._restart(state["before"], state["values"], state["counts"])
        self._dropped = state["dropped"]


def _nothing() -> None:
    """A history without a hub has no inbox to hand out."""


def _portable(series: array[float]) -> Any:
    """Return a float64 tensor where torch is loaded, as the writer of a checkpoint has it."""
    torch = sys.modules.get("torch")
    return series.tolist() if torch is None else torch.tensor(series, dtype=torch.float64)


def _origin(function: Callable[..., Any]) -> tuple[str, str]:
    return function.__module__, function.__qualname__
