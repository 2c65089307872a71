"""From what the files say to the content of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivetrain.config._configdict import ConfigDict, fresh, fresh_node, mark
from drivetrain.config._custom_imports import IMPORTS_KEY, import_modules, imports_of
from drivetrain.config._errors import CircularBaseError, ConfigError, Place, ReservedKeyError
from drivetrain.config._node_place import line_of_paths
from drivetrain.config._origin import locate
from drivetrain.config._sources import Source, deepest_line

RESERVED_KEYS = ("filename", "text", "pretty_text", "env_variables")


def assemble(data: dict[Any, Any], source: Source, *, import_modules: bool) -> ConfigDict:
    """Content of a config, whose nodes know where they stand in its files.

    Args:
        data: What the files say, merged.
        source: The files.
        import_modules: Whether the modules in ``custom_imports`` are imported.

    Raises:
        ConfigError: If a key is reserved, a value contains itself, or an import fails.
    """
    try:
        node = fresh_node(data)
    except RecursionError as err:
        raise _endless(data, source) from err
    refuse_reserved(node, source)
    if import_modules and IMPORTS_KEY in node:
        _import_custom_modules(node[IMPORTS_KEY], source)
    mark(node, source)
    return node


def _endless(data: dict[Any, Any], source: Source) -> CircularBaseError:
    """The error about the key whose value cannot be walked through."""
    key = next((key for key in data if _is_endless(data[key])), "")
    file = next((each for each in reversed(list(source.walk())) if key in each.data), source)
    lines = locate(file, [str(key)])
    return CircularBaseError(
        f"{key}: the value contains itself, or is nested too deeply",
        filename=file.path,
        lineno=lines[0] if lines else deepest_line(file.text),
    )


def _is_endless(value: Any) -> bool:
    try:
        fresh(value)
    except RecursionError:
        return True
    return False


def reserved(key: str) -> str:
    """The message about a reserved key."""
    return f"key {key!r} is reserved: Config has an attribute of that name"


def refuse_reserved(
    content: Mapping[Any, Any], source: Source | None = None, filename: str | None = None
) -> None:
    """Check that no key is an attribute of ``Config``.

    Raises:
        ReservedKeyError: If one is.
    """
    for key in RESERVED_KEYS:
        if key in content:
            place = (filename, None) if source is None else line_of_paths(source, [[key]])
            raise ReservedKeyError(reserved(key), filename=place[0], lineno=place[1])


def _import_custom_modules(setting: Any, source: Source) -> None:
    try:
        names, allow_failed = imports_of(setting)
    except ConfigError as err:
        err.filename, err.lineno = line_of_paths(source, [[IMPORTS_KEY]])
        raise

    def place_of(name: str) -> Place:
        for each in reversed(list(source.walk())):
            said = each.data.get(IMPORTS_KEY)
            if said is not None and name in imports_of(said)[0]:
                return line_of_paths(each, [[IMPORTS_KEY]])
        return line_of_paths(source, [[IMPORTS_KEY]])

    import_modules(names, allow_failed, place_of)
