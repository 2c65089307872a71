"""Numbers on their way into histories, and what is to be done at its place among them."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable

FULL = 1024  # numbers of one scalar that wait


class Inbox:
    """One column of numbers for each scalar; histories get what is in it when somebody reads.

    An iteration then touches the end of a few columns, not several histories: next to a quick model
    the time goes into bringing memory into the caches of the processor.

    Args:
        deliver: Takes a key and the numbers for its history.
    """

    def __init__(self, deliver: Callable[[str, array[float]], None]) -> None:
        self._deliver = deliver
        self._columns: dict[str, array[float]] = {}
        self._delivered: list[int] = []  # of each column, how many were taken out of it so far
        self._calls: deque[tuple[Callable[[], None], list[int]]] = deque()
        self._is_busy = False

    def column(self, key: str) -> array[float]:
        """The column of a scalar; it stays the same object."""
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = array("d")
            self._delivered.append(0)
        return column

    def call_in_order(self, function: Callable[[], None]) -> None:
        """Call ``function`` when all that is here by now is delivered, and nothing more."""
        ends = [
            taken + len(column)
            for taken, column in zip(self._delivered, self._columns.values(), strict=True)
        ]
        self._calls.append((function, ends))

    def empty(self) -> None:
        """Deliver everything; nothing happens if a function that is called here asks for it."""
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while self._calls:
                function, ends = self._calls.popleft()
                self._deliver_until(ends)
                function()
            self._deliver_until(None)
        finally:
            self._is_busy = False

    def _deliver_until(self, ends: list[int] | None) -> None:
        """Deliver up to a position in each column; columns that are younger than it have none."""
        delivered = self._delivered
        for index, (key, column) in enumerate(list(self._columns.items())):
            if ends is None:
                count = len(column)
            else:
                count = ends[index] - delivered[index] if index < len(ends) else 0
            if count:
                numbers = column[:count]
                del column[:count]
                delivered[index] += count
                self._deliver(key, numbers)
