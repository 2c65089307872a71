"""Where hooks put the numbers and facts of each iteration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from drivetrain.logging import MessageHub
from drivetrain.runner._as_written import as_written, keeps

_UPDATES = as_written(MessageHub, "update_scalar", "update_info")


class Columns(dict[str, Any]):
    """By name of a scalar, its column in a message hub; opened when first asked for.

    A hub with ways of its own to take numbers is told each of them in these ways.

    Args:
        hub: The hub, or what stands for one.
        prefix: What the hub has before the names.
    """

    def __init__(self, hub: MessageHub, prefix: str = "") -> None:
        super().__init__()
        self._hub = hub
        self._prefix = prefix

    def __missing__(self, name: str) -> Any:
        hub, key = self._hub, self._prefix + name
        is_plain = keeps(hub, _UPDATES)
        self[name] = hub.column_for(key) if is_plain else _Told(partial(hub.update_scalar, key))
        return self[name]


class _Told:
    """A column of which nothing waits."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self.append = tell

    def __len__(self) -> int:
        return 0


class _ToldFacts(dict[str, Any]):
    def __init__(self, tell: Callable[[str, Any], None]) -> None:
        super().__init__()
        self._tell = tell

    def __setitem__(self, key: str, value: Any) -> None:
        self._tell(key, value)


def facts_for(hub: MessageHub, *keys: str) -> dict[str, Any]:
    """Where to set facts; a hub with ways of its own is told of them."""
    return hub.facts_for(*keys) if keeps(hub, _UPDATES) else _ToldFacts(hub.update_info)
