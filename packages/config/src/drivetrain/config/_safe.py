"""What a config of a stranger may cost, and where its files may be."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, NoReturn

from drivetrain.config._errors import UnsafeConfigError

MAX_FILE_BYTES = 1_000_000
MAX_ITEMS = 200_000
MAX_CHARS = 4_000_000
MAX_INT_BITS = 1024
MAX_DEPTH = 60
MAX_FILES = 100
MAX_WORK = 3_000_000
MAX_ALIASES = 20


class SafeRoot:
    """The folder that files of one safe load may come from.

    Args:
        folder: The root; links are followed before comparing.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.path.realpath(folder)
        self._files = 0

    def require(self, path: str, filename: str | None, lineno: int | None) -> None:
        """Check that ``path`` is a regular, not too large file inside the root.

        Raises:
            UnsafeConfigError: If it is not.
        """
        self._files += 1
        if self._files > MAX_FILES:
            refuse(f"more than {MAX_FILES} files", filename, lineno)
        if "::" in path:
            refuse(f"{path!r} is in another package", filename, lineno)
        if "\0" in path:
            refuse("a null byte in a path", filename, lineno)
        real = os.path.realpath(path)
        if os.path.commonpath([real, self._folder]) != self._folder:
            refuse(f"{path!r} is outside of the root {self._folder!r}", filename, lineno)
        if not os.path.exists(real):
            return  # reading it says so better
        if not os.path.isfile(real):
            refuse(f"{path!r} is no regular file", filename or path, lineno or 1)
        if os.path.getsize(real) > MAX_FILE_BYTES:
            refuse(f"{path!r} is larger than {MAX_FILE_BYTES} bytes", filename or path, lineno or 1)


def refuse_environment(name: str, filename: str, lineno: int) -> NoReturn:
    """Refuse ``{{$name:...}}``: a file of a stranger does not read the environment."""
    refuse(f"the environment variable {name!r}", filename, lineno)


def refuse_imports(filename: str | None, lineno: int | None) -> NoReturn:
    """Refuse ``custom_imports``."""
    refuse(
        "`custom_imports` would run code; pass import_custom_modules=False to read it as data",
        filename,
        lineno,
    )


def refuse(what: str, filename: str | None, lineno: int | None) -> NoReturn:
    """Raise the error for something that data never needs."""
    raise UnsafeConfigError(f"refused, safe=True: {what[:300]}", filename=filename, lineno=lineno)


def require_small(value: Any, filename: str, lineno: int | None) -> None:
    """Check that ``value``, written out without sharing, stays within the limits.

    Raises:
        UnsafeConfigError: If it is too large, too deep, or contains itself.
    """
    Meter(filename).require_small(value, lineno)


class Meter:
    """Counts the work that one file makes, and measures its values as if nothing was shared."""

    def __init__(self, filename: str) -> None:
        self._filename = filename
        self._work = 0
        # The value is kept beside its size, so that its id is not given to another one.
        self._known: dict[int, tuple[Any, Size]] = {}
        self._open: set[int] = set()
        self._named: dict[str, Size] = {}
        self._total_items = 0
        self._total_chars = 0

    def spend(self, steps: int, lineno: int | None) -> None:
        """Count ``steps`` of work; refuse when a file makes too much."""
        self._work += steps
        if self._work > MAX_WORK:
            refuse(f"more than {MAX_WORK} steps of work", self._filename, lineno)

    def forget(self) -> None:
        """Sizes are unknown again: a value was changed in place."""
        self._known.clear()

    def require_small(self, value: Any, lineno: int | None) -> Size:
        """Check, and give, the size of ``value``."""
        try:
            size = self._size(value, 0, lineno)
        finally:
            self._open.clear()
        self._require(size.items, size.chars, lineno)
        return size

    def keep(self, name: str, value: Any, lineno: int | None) -> None:
        """Check ``value`` together with all that is kept under other names."""
        old, new = self._named.get(name, _ATOM), self.require_small(value, lineno)
        self._named[name] = new
        self._total_items += new.items - old.items
        self._total_chars += new.chars - old.chars
        self._require(self._total_items, self._total_chars, lineno)

    def _require(self, items: int, chars: int, lineno: int | None) -> None:
        if items > MAX_ITEMS or chars > MAX_CHARS:
            what = f"more than {MAX_ITEMS} values or {MAX_CHARS} characters"
            refuse(what, self._filename, lineno)

    def _size(self, value: Any, depth: int, lineno: int | None) -> Size:
        if isinstance(value, (str, bytes)):
            return Size(1, len(value), 0)
        if not isinstance(value, (dict, list, tuple, set)):
            return _ATOM
        if id(value) in self._open:
            refuse("a value contains itself", self._filename, lineno)
        if id(value) not in self._known:
            self._open.add(id(value))
            self.spend(len(value) + 1, lineno)
            self._known[id(value)] = value, self._sum(value, depth, lineno)
            self._open.discard(id(value))
        size = self._known[id(value)][1]
        if depth + size.height > MAX_DEPTH:
            refuse(f"nested deeper than {MAX_DEPTH} levels", self._filename, lineno)
        return size

    def _sum(self, value: Any, depth: int, lineno: int | None) -> Size:
        if depth > MAX_DEPTH:  # before going deeper: a stack has an end too
            refuse(f"nested deeper than {MAX_DEPTH} levels", self._filename, lineno)
        items, chars, height = 1, 0, 0
        parts = [*dict.keys(value), *dict.values(value)] if isinstance(value, dict) else value
        for part in parts:
            size = self._size(part, depth + 1, lineno)
            items, chars = items + size.items, chars + size.chars
            height = max(height, size.height)
            self._require(items, chars, lineno)
        return Size(items, chars, height + 1)


class Size(NamedTuple):
    items: int
    chars: int
    height: int


_ATOM = Size(1, 0, 0)
