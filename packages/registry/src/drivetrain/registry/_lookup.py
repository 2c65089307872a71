"""Getting modules and objects by their names, and asking objects what they have."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from drivetrain.registry._errors import UsageError


def import_modules_from_strings(
    imports: str | Sequence[str] | None, allow_failed_imports: bool = False
) -> ModuleType | list[ModuleType | None] | None:
    """Import modules by name.

    Args:
        imports: One name or several; nothing for none.
        allow_failed_imports: Warn and give None for a module that cannot be imported, instead of
            raising.

    Returns:
        The module for one name, a list for several, None for nothing.

    Raises:
        ImportError: If a module cannot be imported; the one of the import itself.
        UsageError: If a name is no text.
    """
    if not imports:
        return None
    names = [imports] if isinstance(imports, str) else imports
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"import_modules_from_strings: names of modules, got {imports!r}")
    modules = [_imported(name, allow_failed_imports) for name in names]
    return modules[0] if isinstance(imports, str) else modules


def _imported(name: str, allow_failed: bool) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError as err:
        if not allow_failed:
            raise
        warnings.warn(f"{name} could not be imported: {err}", UserWarning, stacklevel=4)
        return None


def get_object_from_string(obj_name: str) -> Any:
    """The module, class, function or attribute of a dotted name, or None if there is none.

    Where a package has an object and a module of one name, it is the object.

    Example:
        >>> get_object_from_string("collections.OrderedDict.fromkeys").__name__
        'fromkeys'
    """
    parts = obj_name.split(".")
    found: Any = None
    for index, part in enumerate(parts):
        attribute = getattr(found, part, None)
        if attribute is None or isinstance(attribute, ModuleType):
            if index and not isinstance(found, ModuleType):
                return None
            try:
                attribute = importlib.import_module(".".join(parts[: index + 1]))
            except ImportError:
                return None
        found = attribute
    return found


def has_method(obj: object, method: str) -> bool:
    """Whether ``obj`` has a method of that name."""
    return callable(getattr(obj, method, None))


def is_method_overridden(method: str, base_class: type, derived_class: type | Any) -> bool:
    """Whether a class, or that of an object, has its own version of a method.

    Args:
        method: Name of the method.
        base_class: The class that it may have the method from.
        derived_class: The class, or an object of it.

    Raises:
        UsageError: If ``base_class`` is no class.
    """
    if not isinstance(base_class, type):
        raise UsageError(
            f"is_method_overridden: base_class is a class, got an object: {base_class!r}"
        )
    derived = derived_class if isinstance(derived_class, type) else type(derived_class)
    own, inherited = getattr(derived, method), getattr(base_class, method)
    # A class method is bound anew each time that it is asked for.
    return getattr(own, "__func__", own) is not getattr(inherited, "__func__", inherited)
