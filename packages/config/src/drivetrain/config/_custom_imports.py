"""``custom_imports``: modules that a config needs imported, to register what they define."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from drivetrain.config._errors import ConfigError, ConfigImportError, Place

IMPORTS_KEY = "custom_imports"


def imports_of(setting: Any) -> tuple[list[str], bool]:
    """Modules and ``allow_failed_imports`` of a ``custom_imports`` value.

    Raises:
        ConfigError: If it has another form.
    """
    parts = {"imports", "allow_failed_imports", "_delete_"}
    known = isinstance(setting, dict) and not set(setting) - parts
    names: Any = dict.get(setting, "imports", ()) if known else None
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            f"`{IMPORTS_KEY}` is dict(imports=[names of modules], allow_failed_imports=False), "
            f"not {setting!r}"
        )
    return list(names), bool(dict.get(setting, "allow_failed_imports", False))


def joined_imports(first: dict[Any, Any], second: dict[Any, Any]) -> dict[str, Any] | None:
    """``custom_imports`` of two parts of a chain together, if both have some."""
    if IMPORTS_KEY not in first or IMPORTS_KEY not in second:
        return None
    if dict.get(second[IMPORTS_KEY], "_delete_"):
        return None
    names, allow = imports_of(first[IMPORTS_KEY])
    more, allow_more = imports_of(second[IMPORTS_KEY])
    names += [name for name in more if name not in names]
    if "allow_failed_imports" in second[IMPORTS_KEY]:
        allow = allow_more
    return {"imports": names, "allow_failed_imports": allow}


def import_modules(
    names: Iterable[str], allow_failed: bool, place_of: Callable[[str], Place]
) -> None:
    """Import the modules of ``custom_imports``.

    Args:
        names: Of the modules.
        allow_failed: Whether one that cannot be imported is a warning only.
        place_of: File and line that ask for a module.

    Raises:
        ConfigImportError: If one cannot be imported and ``allow_failed`` is false.
    """
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as err:  # whatever the code of the module raises
            kind = "" if isinstance(err, ImportError) else f"{type(err).__name__}: "
            message = f"`{IMPORTS_KEY}`: cannot import {name!r}: {kind}{err}"
            filename, lineno = place_of(name)
            error = ConfigImportError(message, filename=filename, lineno=lineno)
            if not allow_failed:
                raise error from err
            warnings.warn(str(error), UserWarning, stacklevel=3)
