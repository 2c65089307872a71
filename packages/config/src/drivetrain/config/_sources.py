"""The files that a config was made of, and how one names another."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, Literal

from drivetrain.config._arguments import path_text
from drivetrain.config._errors import (
    ConfigFileNotFoundError,
    ConfigParseError,
    ConfigReadError,
    UnsupportedFormatError,
    nearest_hint,
)
from drivetrain.config._templates import Template

Format = Literal["py", "json", "yaml"]
Style = Literal["text", "pure"]

DEPRECATION_KEY = "_deprecation_"
_FORMATS: dict[str, Format] = {".py": "py", ".json": "json", ".yaml": "yaml", ".yml": "yaml"}


class Source:
    """One loaded file: its text, what it says itself, and the files that it inherits from.

    Attributes:
        path: As errors and origins show it.
        format: Of the text.
        text: As it is in the file.
        code: The text with its templates filled in or marked; lines keep their numbers.
        style: ``"text"`` if it uses ``_base_`` or templates, ``"pure"`` if ``read_base`` or lazy
            imports, ``None`` if it uses none of them.
        data: What the file says itself; for pure Python, all that it defines in the end.
        edits: What a text-style Python file changed in what it inherits, by way of ``_base_``.
        bases: In the order of the file.
        imports: For each import of a pure Python file that names a base: its line, and which base.
        scope: The package that it was taken from with ``package::path``.
        templates: The ``{{ ... }}`` in it.
        syntax: What the search for lines keeps of the text, once it has read it.
        helpers: Names that a pure Python file binds but that are no keys (imports, functions).
    """

    def __init__(self, path: str, format: Format, text: str) -> None:
        self.path = path
        self.format: Format = format
        self.text = text
        self.code = text
        self.style: Style | None = None
        self.data: dict[Any, Any] = {}
        self.edits: dict[Any, Any] = {}
        self.bases: list[Source] = []
        self.imports: list[tuple[int, int]] = []
        self.scope: str | None = None
        self.templates: list[Template] = []
        self.helpers: dict[str, Any] = {}
        self.syntax: Any = None

    def walk(self) -> Iterator[Source]:
        """This file and all that it inherits from, bases first."""
        for base in self.bases:
            yield from base.walk()
        yield self

    def __getstate__(self) -> dict[str, Any]:
        # What a file only helps itself with (functions, open files) may not be picklable.
        return {
            **self.__dict__,
            "data": _outline(self.data),
            "edits": _outline(self.edits),
            "helpers": {},
            "syntax": None,
        }

    def full_text(self) -> str:
        """The text of the whole chain, each file under a line with its path."""
        return "\n".join(f"{source.path}\n{source.text}" for source in self.walk())


def _outline(value: Any) -> Any:
    """``value`` with everything that is no plain data shown as text."""
    if isinstance(value, dict):
        return {key: _outline(item) for key, item in dict.items(value)}
    if isinstance(value, (list, tuple)):
        return [_outline(item) for item in value]
    return value if isinstance(value, (str, int, float, type(None))) else repr(value)


def format_of(path: str, *, asked_by: tuple[str, int | None] | None = None) -> Format:
    """Format of a file by its extension.

    Args:
        path: The file.
        asked_by: File and line that named it, for errors.

    Raises:
        UnsupportedFormatError: If it is none of the three.
    """
    extension = os.path.splitext(path)[1].lower()
    if extension not in _FORMATS:
        if os.path.isdir(path):
            found = f"and this is a folder{_configs_in(path)}"
        else:
            found = f"not {extension}" if extension else "and this name has no extension"
        raise UnsupportedFormatError(
            f"{path}: a config is a .py, .json, .yaml or .yml file, {found}",
            filename=asked_by[0] if asked_by else None,
            lineno=asked_by[1] if asked_by else None,
        )
    return _FORMATS[extension]


def _configs_in(folder: str) -> str:
    """Which files of a folder could have been meant, for an error."""
    names = sorted(n for n in os.listdir(folder) if os.path.splitext(n)[1].lower() in _FORMATS)
    return f".\n  In it: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else ""


def format_of_name(name: str) -> Format:
    """Format by its own name, with or without a dot.

    Raises:
        UnsupportedFormatError: If it is none of the three.
    """
    name = path_text(name, "the format of a config")
    extension = name if name.startswith(".") else f".{name}"
    if extension.lower() not in _FORMATS:
        raise UnsupportedFormatError(f"a config is py, json, yaml or yml, not {name!r}")
    return _FORMATS[extension.lower()]


def read_text(path: str, *, asked_by: tuple[str, int | None] | None = None) -> str:
    """Text of a config file.

    Args:
        path: The file.
        asked_by: File and line that named it, for errors.

    Raises:
        ConfigFileNotFoundError: If it is not there; the nearest names beside it are offered.
    """
    filename, lineno = asked_by or (path, None)
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError) as err:
        raise ConfigFileNotFoundError(missing_file(path), filename=filename, lineno=lineno) from err
    except UnicodeDecodeError as err:
        line = err.object.count(b"\n", 0, err.start) + 1
        raise ConfigParseError(f"not UTF-8 text: {err}", filename=path, lineno=line) from err
    except (OSError, ValueError) as err:  # a folder, no permission; a null byte in the name
        raise ConfigReadError(
            f"cannot read config file {path[:200]!r}: {getattr(err, 'strerror', None) or err}",
            filename=filename,
            lineno=lineno,
        ) from err


def missing_file(path: str) -> str:
    """The message about a config file that is not there, with the nearest ones in its folder."""
    path = os.path.abspath(path)
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        return f"no config file {path!r}: there is no folder {folder!r}"
    beside = [each for each in os.listdir(folder) if os.path.splitext(each)[1] in _FORMATS]
    hint = nearest_hint(name, sorted(beside)).replace("; it has", "; that folder has")
    return f"no config file {path!r}{hint if beside else '; that folder has no config'}"


def deepest_line(text: str) -> int:
    """Line of a text that is nested too deeply for its parser: there it is deepest, or longest."""
    deepest, depth = (0, 0, 1), 0
    for lineno, line in enumerate(text.split("\n"), 1):
        top = depth
        for bracket in re.findall(r"[\[\](){}]", line):
            depth += 1 if bracket in "[({" else -1
            top = max(top, depth)
        nesting = top + (len(line) - len(line.lstrip())) // 2
        # Below that depth it is no nest of brackets but a chain of operators.
        rank = (nesting if nesting > 50 else 0, len(line), -lineno)
        deepest = max(deepest, rank)
    return abs(deepest[2])


def package_folder(package: str) -> str | None:
    """Folder of an installed package, found without importing it."""
    import importlib.util  # slow to import, and only packages of configs need it

    try:
        spec = importlib.util.find_spec(package.partition(".")[0])
    except (ImportError, ValueError):
        return None
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = os.path.join(location, *package.split(".")[1:])
        if os.path.isdir(folder):
            return folder
    return None


def resolve_package_path(
    name: str, *, asked_by: tuple[str, int | None] | None = None
) -> tuple[str, str]:
    """File and package of ``package::path``.

    Raises:
        ConfigFileNotFoundError: If the package is not installed or has no such config.
    """
    package, _, relative = name.partition("::")
    filename, lineno = asked_by or (None, None)
    folder = package_folder(package)
    if folder is None:
        raise ConfigFileNotFoundError(
            f"{name!r}: package {package!r} is not installed", filename=filename, lineno=lineno
        )
    candidates = [
        os.path.join(folder, *parts, relative)
        for parts in ((".mim", "configs"), ("configs",), (".mim",), ())
    ]
    for candidate in candidates:
        if os.path.isfile(candidate):
            return candidate, package
    raise ConfigFileNotFoundError(
        f"{name!r}: package {package!r} has no such config; looked for " + ", ".join(candidates),
        filename=filename,
        lineno=lineno,
    )
