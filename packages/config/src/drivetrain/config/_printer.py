"""Config as Python source: stable, readable, and loadable again."""

from __future__ import annotations

import builtins
import keyword
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from drivetrain.config._errors import DumpError
from drivetrain.config._lazy import importable, is_lazy
from drivetrain.config._templates import without_templates

WIDTH = 88
_INDENT = "    "


def to_python(config: dict[Any, Any], *, strict: bool = True) -> str:
    """Python source that defines what ``config`` holds.

    Args:
        config: The content.
        strict: Whether a value without Python source is an error; if not, it is shown as a string,
            and the first lines of the result say so.

    Raises:
        DumpError: If ``strict`` and a value cannot be written as source that gives it back.
    """
    printer = _Printer(config, strict)
    body = "".join(printer.statement(key, value) for key, value in dict.items(config))
    imports = printer.import_lines()
    if any(callable(value) and not is_lazy(value) for value in dict.values(config)):
        # In a pure Python config a class that is assigned to a key is a value, not a helper.
        imports = "from drivetrain.config import read_base\n" + imports
    text = printer.notice() + imports + ("\n" if imports and body else "") + body
    return without_templates(text, "\\x7b")


class _Printer:
    """Prints one config; collects the imports that its values need."""

    def __init__(self, config: dict[Any, Any], strict: bool) -> None:
        self._strict = strict
        self._shown: list[str] = []
        self._taken = {key for key in config if isinstance(key, str)}
        self._imports: dict[tuple[str, str], str] = {}
        self._path: list[str] = []
        self._open: set[int] = set()
        # A key named like a builtin hides it from the lines below.
        self._calls_dict = "dict" not in self._taken

    def statement(self, key: Any, value: Any) -> str:
        """One top-level line."""
        self._path = [str(key)]
        if _is_name(key):
            return f"{key} = {self._value(value, len(key) + 3, 0)}\n"
        if not isinstance(key, str) or key.startswith("__"):
            self._show(f"key {key!r} cannot be a variable of a Python file")
        elif "globals" in self._taken:
            self._show(f"keys {key!r} and 'globals' cannot both be in a Python file")
        head = f"globals()[{key!r}] = "
        return f"{head}{self._value(value, len(head), 0)}\n"

    def notice(self) -> str:
        """Comments on what is shown but would not come back."""
        return "".join(f"# Does not load as it was: {message}\n" for message in self._shown)

    def _show(self, message: str) -> None:
        """Something has no Python source: an error, or a note."""
        path = ".".join(self._path)
        if self._strict:
            raise DumpError(message, path=path)
        self._shown.append(" ".join(f"{path}: {message}".split()))

    def import_lines(self) -> str:
        """The import statements for what was printed."""
        modules: dict[str, list[str]] = {}
        plain_imports = []
        for (module, name), alias in self._imports.items():
            if not name:
                plain_imports.append(f"import {module} as {alias}\n")
            else:
                suffix = "" if alias == name else f" as {alias}"
                modules.setdefault(module, []).append(name + suffix)
        lines = [f"from {m} import {', '.join(sorted(modules[m]))}\n" for m in sorted(modules)]
        return "".join([*sorted(plain_imports), *lines])

    def _value(self, value: Any, column: int, depth: int) -> str:
        """Source of ``value``, which starts at ``column`` of a line indented ``depth`` levels."""
        kind = type(value)
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return scalar(value)
        if id(value) in self._open:
            self._show("the value contains itself")
            return "..."
        if not isinstance(value, (dict, list, tuple, set, frozenset)):
            return self._other(value)
        self._open.add(id(value))
        try:
            opening, items, closing = self._parts(value, depth)
        finally:
            self._open.discard(id(value))
        one_line = opening + ", ".join(items) + closing
        if "\n" not in one_line and column + len(one_line) <= WIDTH:
            return one_line
        if not items:
            return opening + closing
        inside = _INDENT * (depth + 1)
        if closing == ",)":
            closing = ")"
        lines = "".join(f"{inside}{item},\n" for item in items)
        return f"{opening}\n{lines}{_INDENT * depth}{closing}"

    def _parts(self, value: Any, depth: int) -> tuple[str, list[str], str]:
        """Opening, items and closing of a container."""
        if isinstance(value, dict):
            return self._dict_parts(value, depth)
        if isinstance(value, (set, frozenset)):
            return self._set_parts(value, depth)
        if type(value) not in (list, tuple):
            self._show(f"a {type(value).__name__} is no plain list or tuple")
        items = list(self._items(value, depth))
        if isinstance(value, list):
            return "[", items, "]"
        return "(", items, ",)" if len(items) == 1 else ")"

    def _items(self, values: Iterable[Any], depth: int) -> Iterator[str]:
        for index, item in enumerate(values):
            self._path.append(str(index))
            yield self._value(item, len(_INDENT) * (depth + 1) + 1, depth + 1)
            self._path.pop()

    def _dict_parts(self, value: dict[Any, Any], depth: int) -> tuple[str, list[str], str]:
        as_call = self._calls_dict and all(_is_name(key) for key in value)
        indent = len(_INDENT) * (depth + 1) + 1
        items = []
        for key, item in dict.items(value):
            self._path.append(str(key))
            head = f"{key}=" if as_call else f"{self._key(key)}: "
            items.append(head + self._value(item, indent + len(head), depth + 1))
            self._path.pop()
        return ("dict(", items, ")") if as_call else ("{", items, "}")

    def _key(self, key: Any) -> str:
        scalar = _SCALARS.get(type(key))
        if scalar is not None:
            return scalar(key)
        if type(key) is tuple:
            return self._value(key, -10_000, 0)  # on one line, however long
        return self._other(key)

    def _set_parts(self, value: Any, depth: int) -> tuple[str, list[str], str]:
        items = sorted(self._items(value, depth))  # the order of a set differs from run to run
        name = "set" if isinstance(value, set) else "frozenset"
        if name in self._taken and not (name == "set" and items):
            self._show(f"a {name} cannot be written, a key has its name")
        if name == "set" and items:
            return "{", items, "}"
        return (f"{name}([", items, "])") if items else (f"{name}(", [], ")")

    def _other(self, value: Any) -> str:
        """Source of what is no container: a reference, or an object that a call makes again."""
        if value is Ellipsis:
            return "..."
        found = importable(value)
        if found is not None:
            return self._imported(*found)
        kind = type(value)
        if kind.__module__ == "datetime" and hasattr(kind, "fromisoformat"):
            return f"{self._imported('datetime', kind.__name__)}.fromisoformat('{value}')"
        if kind.__module__.partition(".")[0] == "pathlib":
            name = "Path" if hasattr(value, "exists") else kind.__name__
            return f"{self._imported('pathlib', name)}({str(value)!r})"
        if kind is range and "range" not in self._taken:
            return repr(value)
        self._show(f"{value!r} of type {kind.__name__} cannot be written as Python")
        return repr(repr(value))

    def _imported(self, module: str, name: str) -> str:
        """Name of an object in the source, which imports it."""
        if module == "builtins" and name not in self._taken and hasattr(builtins, name):
            return name
        first, *rest = name.split(".") if name else [""]
        if (module, first) not in self._imports:
            self._imports[module, first] = self._free_name(first or module.rpartition(".")[2])
        return ".".join([self._imports[module, first], *rest])

    def _free_name(self, name: str) -> str:
        used = self._taken | set(self._imports.values())
        while name in used or hasattr(builtins, name):
            name += "_"
        return name


def _is_name(key: Any) -> bool:
    return (
        type(key) is str
        and key.isidentifier()
        and key.isascii()  # other letters may be normalized to a different key by the parser
        and not keyword.iskeyword(key)
        and not key.startswith("__")
        and key not in ("_base_", "read_base")
    )


def _float(value: float) -> str:
    return repr(value) if math.isfinite(value) else f"float('{value}')"


def _complex(value: complex) -> str:
    if math.isfinite(value.real) and math.isfinite(value.imag):
        return f"complex({value.real!r}, {value.imag!r})"
    return f"complex({_float(value.real)}, {_float(value.imag)})"


_SCALARS: dict[type, Callable[[Any], str]] = {
    str: repr,
    int: repr,
    float: _float,
    bool: repr,
    type(None): repr,
    bytes: repr,
    complex: _complex,
}
