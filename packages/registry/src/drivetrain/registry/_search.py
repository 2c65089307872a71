"""Finding a name in a tree of registries, and importing what may hold it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from drivetrain.registry._build import unknown_component
from drivetrain.registry._discovery import import_object, providers_for, scope_provider
from drivetrain.registry._scope import canonical_scope
from drivetrain.registry._table import lock

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    from drivetrain.registry._registry import Registry


def find(registry: Registry[Any], key: str, explore: bool = True) -> Any:
    """Component of that name in ``registry``, or in the registry of its scope, or above these.

    Args:
        registry: Where to start.
        key: Name, ``scope.name`` or dotted import path.
        explore: Whether to import modules that may register it.
    """
    scope, rest = registry.split_scope_key(key)
    found = _own_or_above(registry, key, explore and scope is None)
    if found is not None or scope is None:
        return found
    other = registry_of(registry, scope, explore)
    while other is not None:
        found = _own_or_above(other, rest, explore)
        if found is not None:
            return found
        scope, rest = registry.split_scope_key(rest)
        other = None if scope is None else other.children.get(scope)
    return import_object(key) if explore else None


def require(
    registry: Registry[Any], key: str, order: Iterable[Registry[Any]], scope: str | None
) -> Any:
    """The same in the first registry of ``order`` that has it.

    Raises:
        UnknownComponentError: If none has it.
    """
    failure: Exception | None = None
    order = list(order)
    for each in order:
        try:
            found = find(each, key)
        except Exception as err:
            found, failure = None, err
        if found is not None:
            return found
    raise unknown_component(registry, key, order, scope, failure)


def search_order(
    registry: Registry[Any], scope: str | None, explore: bool = True
) -> list[Registry[Any]]:
    """The registry of the scope in force comes first, then ``registry``."""
    if scope is None or canonical_scope(scope) == canonical_scope(registry.scope):
        return [registry]
    other = registry_of(registry, scope, explore)
    return [registry] if other is None or other is registry else [other, registry]


def registry_of(registry: Registry[Any], scope: str, explore: bool = True) -> Registry[Any] | None:
    """The registry of a scope in the tree of ``registry``; what may create it is imported."""
    found = known_registry_of(registry, scope)
    if found is None and explore and scope:
        root = registry.root
        for provider in providers_for(scope, (root.name, registry.name)):
            provider.load()
        found = known_registry_of(registry, scope)
        if found is None:
            scope_provider(scope, root.name).load()
            found = known_registry_of(registry, scope)
    return found


def known_registry_of(registry: Registry[Any], scope: str) -> Registry[Any] | None:
    """The same, of the registries that exist by now."""
    scope = canonical_scope(scope)
    with lock:
        for start in (registry, registry.root):
            for each in start.tree():
                if canonical_scope(each.scope) == scope:
                    return each
    return None


def warn_of_failure(key: str, err: BaseException) -> None:
    """Say why ``get`` found nothing, where that is not simply a name that does not exist."""
    warnings.warn(f"looking for {key!r}: {type(err).__name__}: {err}", RuntimeWarning, stacklevel=3)


def _own_or_above(registry: Registry[Any], name: str, explore: bool) -> Any:
    """A scope offers what its parents offer, too: ``mmdet.LoadImageFromFile`` may be the root's."""
    above: Registry[Any] | None = registry
    while above is not None:
        found = _own(above, name, explore)
        if found is not None:
            return found
        above = above.parent
    return None


def _own(registry: Registry[Any], name: str, explore: bool) -> Any:
    found = registry.module_dict.get(name)
    if found is None and explore:
        for provider in registry.providers():
            provider.load()
        found = registry.module_dict.get(name)
    return found
