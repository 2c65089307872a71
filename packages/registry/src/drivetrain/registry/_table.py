"""Names that one registry maps to something, and the lock under which all of them change."""

from __future__ import annotations

from _thread import RLock  # `threading` would take longer to import than this package
from collections.abc import Callable

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

# Guards names, trees and resolved names of all registries. Nothing is imported or called under it:
# an import may register, and a registration in another thread may be part of an import.
lock = RLock()


class Table(dict[str, "Any"]):
    """A dict that tells about every change, also about one that nobody expects.

    Tests and notebooks do take names out of ``module_dict``: what a registry remembers about a name
    must not outlive that.

    Args:
        changed: Called after each change.
    """

    __slots__ = ("_changed",)

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def _telling(method: Callable[..., Any]) -> Callable[..., Any]:
    def changing(self: Table, *args: Any, **kwargs: Any) -> Any:
        with lock:
            result = method(self, *args, **kwargs)
            self._changed()
        return result

    return changing


for _name in (
    *("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"),
):
    setattr(Table, _name, _telling(getattr(dict, _name)))
