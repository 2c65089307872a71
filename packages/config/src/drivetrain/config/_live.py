"""The configs that were loaded from files and are still in use: who holds a given node?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol
from weakref import WeakValueDictionary

from drivetrain.config._errors import Place


class _Loaded(Protocol):
    """What is asked of a config."""

    _cfg_dict: Any

    def _place_of(self, *paths: str) -> Place: ...


# By identity: configs are mutable, so they have no hash.
_loaded: WeakValueDictionary[int, Any] = WeakValueDictionary()


def remember(config: _Loaded) -> None:
    """Let errors about the nodes of ``config`` find it, as long as it lives."""
    _loaded[id(config)] = config


def place_of_node(node: dict[Any, Any]) -> Place:
    """File and line that gave ``node`` its place in a config; ``None`` where no config has it."""
    for config in list(_loaded.values()):
        for path, each in _nodes(config._cfg_dict, "", set()):
            if each is node:
                return config._place_of(path)
    return None, None


def _nodes(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Dotted path and value of each dict inside ``value``, itself included."""
    if not isinstance(value, (dict, list, tuple)) or id(value) in seen:
        return
    seen.add(id(value))  # a program may have put a node into itself
    if isinstance(value, dict):
        yield path, value
    items = dict.items(value) if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield from _nodes(item, f"{path}.{key}" if path else str(key), seen)
