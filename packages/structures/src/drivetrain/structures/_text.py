"""How an element looks when printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_INDENT = " " * 4


def element_text(element: object, groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the fields of an element under the titles of their groups, one or more lines each."""
    lines = [f"<{type(element).__name__}("]
    for title, fields in groups.items():
        lines += ["", f"{_INDENT}{title}"]
        lines += [_indented(f"{name}: {_value_text(value)}") for name, value in fields.items()]
    lines.append(f") at {hex(id(element))}>")
    return "\n".join(lines)


def _value_text(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return str(value)
    return "\n" + "\n".join(_indented(f"{key}: {_value_text(item)}") for key, item in value.items())


def _indented(text: str) -> str:
    """Indent a text, and what follows its first line a step further."""
    first, *rest = text.split("\n")
    return "\n".join([_INDENT + first, *(_INDENT * 2 + line if line else "" for line in rest)])
