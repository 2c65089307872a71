"""What may be registered, and under which names."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from drivetrain.registry._errors import DuplicateNameError, RegistrationError
from drivetrain.registry._table import lock

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    from drivetrain.registry._registry import Registry


def check_arguments(name: Any, build_func: Any, parent: Any, scope: Any, locations: Any) -> None:
    """Check the arguments of ``Registry``.

    Raises:
        RegistrationError: If one has the wrong type.
    """
    problem = None
    if not isinstance(name, str) or not name:
        problem = f"`name` must be a string that is not empty, got {name!r}."
    elif build_func is not None and not callable(build_func):
        problem = f"`build_func` must be callable, got {build_func!r}."
    elif parent is not None and not hasattr(parent, "module_dict"):
        problem = f"`parent` must be a Registry, got {parent!r}."
    elif scope is not None and (not isinstance(scope, str) or not scope or "." in scope):
        problem = f"`scope` must be a string without dots, got {scope!r}."
    elif isinstance(locations, str) or not all(isinstance(item, str) for item in locations):
        problem = f"`locations` must be a list of module names, got {locations!r}."
    if problem is not None:
        raise RegistrationError(f"Registry({name!r}): {problem}")


def names_given(name: Any, registry: str) -> list[str] | None:
    """Turn ``name`` of ``register_module`` into a list; ``None`` if there is none.

    Raises:
        RegistrationError: If it is neither a string nor a sequence of strings.
    """
    if name is None:
        return None
    names = [name] if isinstance(name, str) else name
    if isinstance(names, Sequence) and all(isinstance(n, str) and n for n in names) and names:
        return list(names)
    details: tuple[tuple[str, str], ...] = ()
    if callable(name):
        details = (
            (
                "To do:",
                "write @REGISTRY.register_module() with parentheses,\n"
                "or register_module(module=...) as a plain call",
            ),
        )
    raise RegistrationError(
        f"{registry}: the name to register must be a string or a sequence of strings, "
        f"got {name!r}.",
        details,
    )


def names_of(component: Any, names: list[str] | None, registry: str) -> list[str]:
    """Return the names to register a component under: those given, else its own.

    Raises:
        RegistrationError: If it cannot be called, or has no name.
    """
    if not callable(component):
        raise RegistrationError(
            f"{registry}: a component must be a class or a function, got {component!r}.",
            (("Perhaps:", "an instance was passed where its class was meant"),),
        )
    if names is not None:
        return names
    own_name = getattr(component, "__name__", None)
    if not isinstance(own_name, str):
        raise RegistrationError(
            f"{registry}: {component!r} has no __name__.",
            (("To do:", "give one: register_module(name=..., module=...)"),),
        )
    return [own_name]


def taken(name: str, there: Any, new: Any, registry: str, scope: str) -> DuplicateNameError:
    """Explain that a name has a component already."""
    return DuplicateNameError(
        f"{name!r} is already registered in {registry!r} (scope {scope!r}).",
        (
            ("There:", where_defined(there)),
            ("New:", where_defined(new)),
            ("To do:", "choose another name=, or replace it with force=True"),
        ),
    )


def enter(component: Any, names: list[str], registry: Registry[Any], force: bool) -> None:
    """Enter a component in a registry under all of ``names``, or under none.

    Raises:
        DuplicateNameError: If a name is taken and ``force`` is not set.
    """
    with lock:
        for name in names:
            there = registry.module_dict.get(name)
            if there is not None and not force and not is_successor(component, there):
                raise taken(name, there, component, registry.name, registry.scope)
        for name in names:
            registry.module_dict[name] = component


def add_child(parent: Registry[Any], child: Registry[Any]) -> None:
    """Enter a registry below its parent.

    Raises:
        DuplicateNameError: If the parent has a child of that scope already.
    """
    with lock:
        old = parent.children.get(child.scope)
        if old is not None and not is_successor_module(child._home, old._home):
            raise DuplicateNameError(
                f"scope {child.scope!r} exists already below registry {parent.name!r}.",
                (("To do:", "use that registry, or give the new one another scope="),),
            )
        parent.children[child.scope] = child


def is_successor(new: Any, there: Any) -> bool:
    """Whether ``new`` is ``there`` over again, after its module was unloaded.

    That happens when a config that failed to load has imported the module, and is corrected.
    """
    module = getattr(there, "__module__", None)
    name = getattr(there, "__qualname__", None)
    if new is there or not module or not name or "<locals>" in name or module == "__main__":
        return False
    if (getattr(new, "__module__", None), getattr(new, "__qualname__", None)) != (module, name):
        return False
    held: Any = sys.modules.get(module)
    for part in name.split("."):
        held = getattr(held, part, None)
    return held is None


def is_successor_module(new: dict[str, Any], there: dict[str, Any]) -> bool:
    """Whether a module with the globals ``new`` took the place of the one that had ``there``."""
    name = new.get("__name__")
    if new is there or name != there.get("__name__"):
        return False
    return getattr(sys.modules.get(str(name)), "__dict__", None) is new


def where_defined(component: Any) -> str:
    """Module and name of a component; of a function, file and line too."""
    module = getattr(component, "__module__", None)
    name = getattr(component, "__qualname__", None) or repr(component)
    code = getattr(component, "__code__", None)
    where = f"{module}.{name}" if module else name
    return f"{where} ({code.co_filename}:{code.co_firstlineno})" if code else where


def globals_of_creator(registry: Any) -> dict[str, Any]:
    """Globals of the module whose code is creating ``registry``."""
    frame = sys._getframe(2)
    # Constructors of subclasses are not who creates it.
    while frame.f_back is not None and frame.f_locals.get("self") is registry:
        frame = frame.f_back
    return frame.f_globals


def package_of(module_globals: dict[str, Any]) -> str:
    """Top-level package of a module, given its globals."""
    return str(module_globals.get("__name__", "__main__")).partition(".")[0]
