"""When a hook runs among the others at one point: lower values first."""

from __future__ import annotations

from enum import Enum


class Priority(Enum):
    """Named priorities of hooks; a hook with a lower value is called earlier."""

    HIGHEST = 0
    VERY_HIGH = 10
    HIGH = 30
    ABOVE_NORMAL = 40
    NORMAL = 50
    BELOW_NORMAL = 60
    LOW = 70
    VERY_LOW = 90
    LOWEST = 100


def get_priority(priority: int | str | Priority) -> int:
    """Number of a priority that is given as a number, a name or a ``Priority``.

    Raises:
        ValueError: If a number lies outside 0..100, or a name is unknown.
        TypeError: If it is none of the three.
    """
    if isinstance(priority, Priority):
        return priority.value
    if isinstance(priority, int):
        if not 0 <= priority <= 100:
            raise ValueError(f"a hook priority lies between 0 and 100, got {priority}")
        return priority
    if isinstance(priority, str):
        try:
            return Priority[priority.upper()].value
        except KeyError:
            names = ", ".join(level.name for level in Priority)
            raise ValueError(f"no hook priority {priority!r}; the names are {names}") from None
    raise TypeError(f"a hook priority is a number, a name or a Priority, got {priority!r}")
