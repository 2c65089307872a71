"""What a text-style file sees of its bases."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from drivetrain.config._configdict import fresh
from drivetrain.config._errors import UnknownBaseValueError, nearest_hint
from drivetrain.config._templates import base_text


class Inherited:
    """What a text-style file inherits: filled when its ``_base_`` is read, asked by templates."""

    def __init__(self, filename: str) -> None:
        self._filename = filename
        self.data: dict[Any, Any] = {}

    def value(self, name: str) -> Any:
        """A copy of the value of the bases under a dotted name."""
        value: Any = self.data
        for index, part in enumerate(name.split(".")):
            if isinstance(value, dict) and part in value:
                value = dict.__getitem__(value, part)
            elif isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                keys = list(value) if isinstance(value, dict) else range(_length(value))
                known = ".".join(name.split(".")[:index])
                raise UnknownBaseValueError(
                    f"the bases define no {name!r}"
                    + (f": {known!r} has no {part!r}" if known else "")
                    + nearest_hint(part, keys)
                )
        return fresh(value)

    def text(self, name: str) -> str:
        """The same, as it reads inside a string."""
        return base_text(self.value(name), name)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, tuple)) else 0


class BaseView(MutableMapping[Any, Any]):
    """``_base_`` as a Python config sees it: what the bases define, open to changes.

    What is changed in it, by its own name (``_base_.model.depth = 18``) or by another one
    (``model = _base_.model``), changes what the config inherits, as in the reference engine. The
    files of the bases stay as they are for everybody else.
    """

    __slots__ = ("__data", "__originals")

    def __init__(self, data: dict[Any, Any]) -> None:
        object.__setattr__(self, "_BaseView__data", data)
        object.__setattr__(self, "_BaseView__originals", {})

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __getitem__(self, name: Any) -> Any:
        if name not in self.__data:
            raise UnknownBaseValueError(
                f"the bases define no {name!r}{nearest_hint(name, self.__data)}"
            )
        if name not in self.__originals:  # from now on it may change
            self.__originals[name] = self.__data[name]
            self.__data[name] = fresh(self.__data[name])
        return self.__data[name]

    def __setitem__(self, name: Any, value: Any) -> None:
        self.__originals.setdefault(name, self.__data.get(name))
        self.__data[name] = fresh(value)

    def __delitem__(self, name: Any) -> None:
        self[name]  # an unknown name is an error
        del self.__data[name]

    def __contains__(self, name: object) -> bool:
        return name in self.__data

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__data)

    def __len__(self) -> int:
        return len(self.__data)

    def get(self, name: Any, default: Any = None) -> Any:
        """The value under ``name``, or ``default``."""
        return self[name] if name in self.__data else default


def changes_of(view: BaseView) -> dict[Any, Any]:
    """What a config changed in its bases, as a tree of the values that are new."""
    data, originals = view._BaseView__data, view._BaseView__originals
    return _changes(originals, {key: data[key] for key in originals if key in data})


def _changes(before: Any, after: dict[Any, Any]) -> dict[Any, Any]:
    found = {}
    for key, value in dict.items(after):
        old = dict.get(before, key)
        if isinstance(old, dict) and isinstance(value, dict):
            if inner := _changes(old, value):
                found[key] = inner
        elif key not in before or type(old) is not type(value) or not _equal(old, value):
            found[key] = value
    return found


def _equal(value: Any, other: Any) -> bool:
    try:
        return value is other or bool(value == other)
    except Exception:  # an array, say: it may not compare, and then counts as changed
        return False
