"""What two configs differ in, and one short name for equal ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from drivetrain.config._errors import DumpError
from drivetrain.config._lazy import path_of_object

_ABSENT = object()


class Difference(NamedTuple):
    """One path at which two configs differ.

    Attributes:
        path: Dotted path.
        kind: What happened on the way from the first to the second.
        old: Value in the first; ``None`` if it was added.
        new: Value in the second; ``None`` if it was removed.
    """

    path: str
    kind: Literal["added", "removed", "changed"]
    old: Any
    new: Any


def differences(old: Any, new: Any, path: str = "") -> Iterator[Difference]:
    """Paths at which two nests of dicts and lists differ, in the order of the first."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*dict.keys(old), *(key for key in new if key not in old)]
        pairs = [(k, dict.get(old, k, _ABSENT), dict.get(new, k, _ABSENT)) for k in keys]
    elif isinstance(old, (list, tuple)) and type(old) is type(new):
        length = max(len(old), len(new))
        pairs = [(i, _item(old, i), _item(new, i)) for i in range(length)]
    else:
        if type(old) is not type(new) or old != new:
            yield Difference(path, "changed", old, new)
        return
    for key, before, after in pairs:
        here = f"{path}.{key!s}" if path else str(key)
        if before is _ABSENT:
            yield Difference(here, "added", None, after)
        elif after is _ABSENT:
            yield Difference(here, "removed", before, None)
        else:
            yield from differences(before, after, here)


def unified_diff(old: str, new: str, old_name: str, new_name: str) -> str:
    """A unified diff of two texts."""
    import difflib  # only comparing needs it

    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), old_name, new_name, lineterm=""
    )
    return "\n".join(line.rstrip() if line[:3] in ("---", "+++") else line for line in lines)


def _item(values: Any, index: int) -> Any:
    return values[index] if index < len(values) else _ABSENT


def digest_of(value: Any) -> str:
    """SHA-256 of a content, the same for equal contents whatever the order of their keys.

    Raises:
        DumpError: If a value has no name or content to go by.
    """
    import hashlib  # loads OpenSSL; few programs need a digest

    return hashlib.sha256(_canonical(value, "").encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(value: Any, path: str) -> str:
    """A text that is equal exactly for equal values."""
    if isinstance(value, dict):
        pairs = [
            f"{_canonical(key, path)}:{_canonical(item, f'{path}.{key!s}' if path else str(key))}"
            for key, item in dict.items(value)
        ]
        return "{" + ",".join(sorted(pairs)) + "}"
    if isinstance(value, (list, tuple)):
        inner = ",".join(_canonical(item, f"{path}.{i}") for i, item in enumerate(value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if isinstance(value, (set, frozenset)):
        return "<" + ",".join(sorted(_canonical(item, path) for item in value)) + ">"
    if isinstance(value, (bool, int, float, complex)):
        return _canonical_number(value)
    if isinstance(value, (str, bytes, type(None))):
        return repr(value)
    if type(value).__module__ in ("datetime", "pathlib", "pathlib._local") or type(value) is range:
        return f"@{type(value).__name__}({str(value)!r})"
    name = path_of_object(value)
    if name is None:
        raise DumpError(
            f"a digest needs plain values, classes and functions; "
            f"{value!r} is a {type(value).__name__}",
            path=path,
        )
    return f"@{name}"


def _canonical_number(value: bool | int | float | complex) -> str:
    # 1, 1.0 and True are equal in Python, so configs that differ in that are equal too.
    if isinstance(value, complex):
        if value.imag:
            return f"#{value.real!r}+{value.imag!r}j"
        value = value.real
    if isinstance(value, float) and value % 1 != 0:  # also infinities and nan
        return f"#{value!r}"
    return f"#{int(value)}"
