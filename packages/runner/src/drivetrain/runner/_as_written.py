"""Whether methods still are what their class says, so that something quicker may stand for them."""

from __future__ import annotations

from typing import Any


def as_written(cls: type, *names: str) -> dict[str, Any]:
    """Methods of a class, as they are now.

    Taken while a module is imported: what replaces one of them later, as a test does that counts
    calls, then is another one.
    """
    return {name: getattr(cls, name) for name in names}


def keeps(value: Any, methods: dict[str, Any]) -> bool:
    """Whether ``value`` has these very methods, neither overridden nor replaced."""
    kind, own = type(value), vars(value)
    return all(getattr(kind, name, None) is m and name not in own for name, m in methods.items())
