"""Every error of this package.

::

    ConfigError
    ├── ConfigFileNotFoundError   FileNotFoundError  a file, or a base of one, is not there
    ├── ConfigReadError           OSError            a file that cannot be read
    ├── ConfigWriteError          OSError            a file that cannot be written
    ├── ArgumentTypeError         TypeError          a function got something of another type
    ├── UnsupportedFormatError    OSError            neither .py, .json, .yaml nor .yml
    ├── ConfigParseError          ValueError         not valid Python, JSON or YAML
    ├── ConfigExecutionError      RuntimeError       a Python config raised while it ran
    ├── ConfigImportError         ImportError        an import, or custom_imports, fails
    ├── TemplateError             ValueError         a ``{{ ... }}`` that cannot be filled in
    │   ├── EnvironmentVariableError  KeyError       ``{{$NAME:}}`` not set and without default
    │   └── UnknownBaseValueError     KeyError, AttributeError   ``_base_.x`` is in no base
    ├── CircularBaseError         RecursionError     a file inherits from itself
    ├── DuplicateKeyError         KeyError           two bases define one key
    ├── ReservedKeyError          KeyError, AttributeError   a key that ``Config`` needs itself
    ├── MixedStyleError           TypeError          ``_base_`` and ``read_base`` in one chain
    ├── MergeError                TypeError          a dict meets something that is no dict
    ├── ListIndexError            IndexError, KeyError       no such element to override
    ├── OverrideSyntaxError       ValueError         not of the form ``key=value``
    ├── UnknownKeyError           KeyError           an override names a path that is not there
    ├── MissingKeyError           KeyError, AttributeError   a key was read that is not there
    ├── LazyImportError           ImportError        a lazily imported name cannot be imported
    ├── DumpError                 TypeError, ValueError      the format cannot hold a value
    └── UnsafeConfigError         ValueError         refused under ``safe=True``

Each is also the builtin that a caller would expect, and carries ``filename`` and ``lineno``
(``None`` where there is no file); when they are known, the text starts with ``file:line:``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

Place = tuple[str | None, int | None]


class ConfigError(Exception):
    """Root of all errors of this package.

    Args:
        message: What is wrong, and what to do about it.
        filename: The config file that is to blame, if one is.
        lineno: The line in it, counted from 1.
    """

    filename: str | None
    lineno: int | None

    def __init__(
        self, message: str, *, filename: str | None = None, lineno: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.filename = filename
        self.lineno = lineno

    def __str__(self) -> str:  # KeyError would show repr(message), newlines as \n
        if self.filename is None:
            return self.message
        place = self.filename if self.lineno is None else f"{self.filename}:{self.lineno}"
        return f"{place}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        # An OSError keeps its filename outside of its __dict__.
        state = {**self.__dict__, "filename": self.filename, "lineno": self.lineno}
        return _rebuild_error, (type(self), self.args, state)


def _rebuild_error(
    cls: type[ConfigError], args: tuple[Any, ...], state: dict[str, Any]
) -> ConfigError:
    """Restore an error on the other side of a process border, whatever its signature."""
    error = cls.__new__(cls, *args)
    error.args = args
    for name, value in state.items():
        setattr(error, name, value)
    return error


class ConfigFileNotFoundError(ConfigError, FileNotFoundError):
    """A config file, or a base that one names, does not exist."""


class ConfigReadError(ConfigError, OSError):
    """A config file is there but cannot be read."""


class ConfigWriteError(ConfigError, OSError):
    """A config cannot be written where it should be."""


class ArgumentTypeError(ConfigError, TypeError):
    """A function of this package got an argument of a type that it has no use for."""


class UnsupportedFormatError(ConfigError, OSError):
    """The file is neither Python, JSON nor YAML."""


class ConfigParseError(ConfigError, ValueError):
    """The text of a file is not valid in its format."""


class ConfigExecutionError(ConfigError, RuntimeError):
    """A Python config raised an exception while it ran; the exception is the ``__cause__``."""


class ConfigImportError(ConfigError, ImportError):
    """A module that a config imports, or lists in ``custom_imports``, cannot be imported."""


class TemplateError(ConfigError, ValueError):
    """A ``{{ ... }}`` cannot be filled in."""


class EnvironmentVariableError(TemplateError, KeyError):
    """An environment variable is not set, and the config gives no default."""


class UnknownBaseValueError(TemplateError, KeyError, AttributeError):
    """``_base_.a.b`` or ``{{_base_.a.b}}`` names nothing that the bases define."""


class CircularBaseError(ConfigError, RecursionError):
    """A config inherits from itself, directly or through others."""


class DuplicateKeyError(ConfigError, KeyError):
    """Two bases of one file define the same key."""


class ReservedKeyError(ConfigError, KeyError, AttributeError):
    """A key is to be set that is an attribute of ``Config`` itself, or a method by attribute."""


class MixedStyleError(ConfigError, TypeError):
    """One inheritance chain mixes ``_base_`` files with ``read_base`` files."""


class _AtPathError(ConfigError):
    """An error about the value under a dotted path.

    Attributes:
        path: The dotted path, or ``""`` if it is the whole.
    """

    def __init__(self, message: str, *, path: str = "", **place: Any) -> None:
        super().__init__(f"{path}: {message}" if path else message, **place)
        self.path = path


class MergeError(_AtPathError, TypeError):
    """A dict is to be merged into something that is no dict."""


class ListIndexError(_AtPathError, IndexError, KeyError):
    """A merge names a list element that does not exist."""


class OverrideSyntaxError(ConfigError, ValueError):
    """An override is not of the form ``key=value``.

    Attributes:
        argument: The argument, as it was given.
        position: Which one of the command line it is, counted from 1; ``None`` if it came alone.
    """

    def __init__(
        self,
        message: str,
        *,
        argument: str | None = None,
        position: int | None = None,
        **place: Any,
    ) -> None:
        super().__init__(message, **place)
        self.argument = argument
        self.position = position


class UnknownKeyError(ConfigError, KeyError):
    """An override names a path that the config does not have.

    Attributes:
        path: The dotted path that was asked for.
        nearest: Existing paths that look like it, the best first.
    """

    def __init__(self, message: str, *, path: str, nearest: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.path = path
        self.nearest = tuple(nearest)


class MissingKeyError(ConfigError, KeyError, AttributeError):
    """A key was read, by item or by attribute, that its dict does not have.

    Both a ``KeyError`` and an ``AttributeError``: one C-level look-up serves both spellings.

    Attributes:
        key: The key that was asked for.
        available: The keys that are there.
    """

    def __init__(
        self,
        key: object,
        available: Iterable[object] = (),
        find_place: Callable[[list[str]], Place] | None = None,
    ) -> None:
        super().__init__("")
        self.args = (key,)
        self.key = key
        self.available = tuple(available)
        self._find_place = find_place

    # Text and place are made on demand: hasattr and getattr(..., default) raise this and show
    # nothing of it.
    def __str__(self) -> str:
        self.message = f"no key {self.key!r} in this config"
        self.message += nearest_hint(self.key, self.available)
        self._know_place()
        return super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        self._know_place()
        return super().__reduce__()

    def _know_place(self) -> None:
        if self._find_place is not None and self.filename is None:
            try:
                near = nearest_names(self.key, self.available)
                self.filename, self.lineno = self._find_place(near)
            except Exception:  # an error must not fail because of its decoration
                self.filename = self.lineno = None
        self._find_place = None


class LazyImportError(ConfigError, ImportError):
    """A name that a config imports lazily is needed now, and cannot be imported."""


class DumpError(_AtPathError, TypeError, ValueError):
    """A value cannot be written in the chosen format."""


class UnsafeConfigError(ConfigError, ValueError):
    """A file that is loaded with ``safe=True`` does something that data never needs."""


def nearest_names(name: object, names: Iterable[object], count: int = 3) -> list[str]:
    """Up to ``count`` of ``names`` that look like ``name``, the best first."""
    import difflib  # only for errors: half the cost of importing this package otherwise

    # Names of a sane length and number only: comparing is quadratic in both.
    near = [text for text in (str(each) for each in islice(names, 5000)) if len(text) < 200]
    return difflib.get_close_matches(str(name)[:200], near, n=count, cutoff=0.6)


def nearest_hint(name: object, names: Iterable[object]) -> str:
    """The end of a message about an unknown name: the nearest ones, or all that there are."""
    names = list(names)
    if near := nearest_names(name, names):
        return "; did you mean " + " or ".join(repr(each) for each in near) + "?"
    if not names:
        return "; it is empty"
    shown = ", ".join(repr(each) for each in names[:12])
    return f"; it has {shown}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")
