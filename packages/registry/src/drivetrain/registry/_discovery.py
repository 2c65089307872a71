"""Who offers components: modules announced by entry points, imported when they are needed.

Nothing here runs before the first name that a registry does not know. A provider that fails to
import is remembered with its error, is not tried again, and does not keep others from being tried.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module

from drivetrain.registry._contract import require_contract
from drivetrain.registry._scope import canonical_scope

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

GROUP = "drivetrain.components"


class Provider:
    """A module that registers components when it is imported.

    Attributes:
        module: Dotted name of the module.
        scope: Scope that it announces components for.
        registry: Name of the registry that it announces components for.
        distribution: Name of the distribution that announces it, ``None`` if unknown.
        version: Version of that distribution.
        announced_by: For a reader: what made us import it.
        imported: Whether its import was tried to the end.
        error: What the import raised.
    """

    __slots__ = (
        *("announced_by", "distribution", "error", "imported", "module", "registry", "scope"),
        "version",
    )

    def __init__(self, module: str, scope: str, registry: str, announced_by: str) -> None:
        self.module = module
        self.scope = scope
        self.registry = registry
        self.announced_by = announced_by
        self.distribution: str | None = None
        self.version: str | None = None
        self.imported = False
        self.error: BaseException | None = None

    def load(self) -> None:
        """Import the module, once; keep what it raised.

        Not under a lock of ours: another thread may be importing the same module and wait for a
        registry. Python's import lock makes both threads see the finished module.
        """
        if self.imported:
            return
        try:
            require_contract(import_module(self.module))
        except Exception as err:  # whatever a foreign module raises is its own failure
            self.error = err
        self.imported = True

    @property
    def label(self) -> str:
        """Distribution and version, or the module when they are unknown."""
        if self.distribution is None:
            return self.module
        return f"{self.distribution} {self.version}"

    def __repr__(self) -> str:
        state = "failed" if self.error else "imported" if self.imported else "not imported"
        return f"<Provider {self.module} for {self.scope}.{self.registry}: {state}>"


class _Announcements:
    """The providers of all installed distributions, read again when ``sys.path`` changes."""

    def __init__(self) -> None:
        self.providers: dict[tuple[str, str], Provider] = {}
        self._scanned_path: tuple[str, ...] | None = None

    def clear(self) -> None:
        self.providers = {}
        self._scanned_path = None

    def current(self) -> list[Provider]:
        path = tuple(sys.path)
        if path != self._scanned_path:
            self._scan()
            self._scanned_path = path
        return list(self.providers.values())

    def _scan(self) -> None:
        # Slow to import (email, zipfile, ...): not before a name is missing.
        from importlib.metadata import entry_points

        found = {}
        for entry in entry_points(group=GROUP):
            scope, _, registry = entry.name.rpartition(".")
            module = entry.value.partition(":")[0].strip()
            provider = Provider(module, canonical_scope(scope), registry, "")
            if entry.dist is not None:
                provider.distribution = entry.dist.metadata["Name"]
                provider.version = entry.dist.version
            provider.announced_by = f'entry point "{entry.name}" of {provider.label}'
            key = (entry.name, module)
            found[key] = self.providers.get(key, provider)
        self.providers = found


_announcements = _Announcements()
_locations: dict[str, Provider] = {}


def announced() -> list[Provider]:
    """Return every provider that an installed distribution announces; import none of them."""
    return _announcements.current()


def providers_for(scope: str, registries: Iterable[str]) -> list[Provider]:
    """Return the providers announced for a scope, under any of a registry's names."""
    names, scope = set(registries), canonical_scope(scope)
    return [p for p in announced() if p.scope == scope and p.registry in names]


def location_provider(module: str, scope: str, registry: str) -> Provider:
    """Return the provider for a module that a registry lists in its ``locations``."""
    provider = _locations.get(module)
    if provider is None:
        provider = Provider(module, scope, registry, f"`locations` of registry {registry!r}")
        provider = _locations.setdefault(module, provider)
    return provider


def scope_provider(scope: str, registry: str) -> Provider:
    """Return the provider for ``<scope>.registry``, where projects keep their child registries."""
    module = f"{scope}.registry"
    provider = _locations.get(module)
    if provider is None:
        provider = Provider(module, scope, registry, f"scope {scope!r}")
        if not _exists(module):
            provider.imported = True  # nothing there, which is no failure
        provider = _locations.setdefault(module, provider)
    return provider


def _exists(module: str) -> bool:
    from importlib.util import find_spec  # not before a scope is missing

    try:
        return find_spec(module) is not None
    except ModuleNotFoundError as err:
        # A parent that is missing, or no package, is nothing to import; a parent that lacks one
        # of its own dependencies is a failure, and `load` will keep it.
        return err.name is not None and err.name != module and not module.startswith(f"{err.name}.")
    except ValueError:  # an empty name, or a module without a spec
        return False
    except Exception:
        return True


def shared_package(module: str, provider: str) -> str:
    """Return the longest package that a module shares with a provider.

    The namespace that all packages of the house share does not count.
    """
    package = provider
    while package and package != "drivetrain":
        if module == package or module.startswith(f"{package}."):
            return package
        package = package.rpartition(".")[0]
    return ""


def import_object(path: str) -> Any:
    """Return what a dotted path names, ``None`` if there is no such thing.

    Raises:
        Exception: Whatever a module on the way raises when it is imported; a module that lacks
            one of its own dependencies is such a failure, not a missing object.
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return None
    module = _import_if_there(parts[0])
    found: Any = module
    name = parts[0]
    for part in parts[1:]:
        if found is None:
            return None
        name = f"{name}.{part}"
        step = getattr(found, part, None)
        if step is None and hasattr(found, "__path__"):
            step = _import_if_there(name)
        found = step
    return found


def _import_if_there(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as err:
        if err.name is not None and (name == err.name or name.startswith(f"{err.name}.")):
            return None
        raise


def forget_providers() -> None:
    """Read the entry points again at the next miss, and try failed imports again."""
    _announcements.clear()
    _locations.clear()
