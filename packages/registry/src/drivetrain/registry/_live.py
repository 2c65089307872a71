"""All registries that exist in this process."""

from __future__ import annotations

from _weakref import ref  # what `weakref` is made of, without the rest of it

from drivetrain.registry._errors import RegistrationError
from drivetrain.registry._table import lock

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    from drivetrain.registry._registry import Registry

_known: list[ref[Registry[Any]]] = []


def remember(registry: Registry[Any]) -> None:
    """Add a registry, which is just being created."""
    with lock:
        _known.append(ref(registry))


def live_registries() -> list[Registry[Any]]:
    """Return every registry that exists, in the order of creation."""
    found = []
    with lock:
        for weak in list(_known):
            registry = weak()
            if registry is None:
                _known.remove(weak)
            else:
                found.append(registry)
    return found


def living_registry(name: str, scope: str) -> Registry[Any]:
    """Return the registry of that name and scope, for a pickled object that uses it.

    Raises:
        RegistrationError: If this process has none.
    """
    for registry in live_registries():
        if (registry.name, registry.scope) == (name, scope):
            return registry
    raise RegistrationError(
        f"this process has no registry {name!r} (scope {scope!r}), which an unpickled object uses.",
        (("To do:", "import the module that creates the registry first"),),
    )
