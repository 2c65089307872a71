"""What a text-style file sees of its bases."""

from __future__ import annotations

from collections.abc import Iterator
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


class BaseView:
    """``_base_`` as a Python config sees it: attributes are copies of what the bases define."""

    def __init__(self, data: dict[Any, Any], filename: str) -> None:
        self.__data = data
        self.__filename = filename

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __getitem__(self, name: str) -> Any:
        if name not in self.__data:
            raise UnknownBaseValueError(
                f"the bases define no {name!r}{nearest_hint(name, self.__data)}"
            )
        return fresh(self.__data[name])

    def __contains__(self, name: object) -> bool:
        return name in self.__data

    def __iter__(self) -> Iterator[str]:
        return iter(self.__data)

    def get(self, name: str, default: Any = None) -> Any:
        """A copy of the value under ``name``, or ``default``."""
        return self[name] if name in self.__data else default
