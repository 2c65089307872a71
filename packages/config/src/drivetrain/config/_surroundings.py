"""What a config that fails to load leaves behind: nothing."""

from __future__ import annotations

import os
import sys
from _thread import get_ident  # `threading` has the same function, and takes longer to import
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from types import ModuleType
from typing import Any

_STANDARD_LIBRARY = os.path.dirname(os.path.realpath(os.__file__))
_INSTALLED = ("site-packages", "dist-packages")
_OWN_PACKAGE = __name__.rpartition(".")[0]


@contextmanager
def restored_on_failure() -> Iterator[None]:
    """Undo what a load that fails did to the process.

    The import path, the environment, the working folder and ``sys.modules`` become what they were.
    Modules of the user are forgotten: the next import runs them again, as they are then. Those of
    the standard library, of installed packages, and whatever is compiled, which no process can load
    twice, are set aside: the next import gives back the same module.
    """
    path, environment, modules = list(sys.path), os.environ.copy(), sys.modules.copy()
    folder = os.getcwd() if os.path.isdir(".") else None
    watch = _ImportWatch()
    sys.meta_path.insert(0, watch)
    try:
        yield
    except BaseException:
        sys.path[:] = path
        if os.environ.copy() != environment:
            os.environ.clear()
            os.environ.update(environment)
        if folder is not None:
            os.chdir(folder)
        if watch in sys.meta_path:
            sys.meta_path.remove(watch)
        _restore_modules(modules, watch)
        raise
    finally:
        if watch in sys.meta_path:
            sys.meta_path.remove(watch)


class _ImportWatch:
    """Hears of every module that is about to be imported; finds none itself."""

    def __init__(self) -> None:
        self._thread = get_ident()
        self.own: set[str] = set()
        self.of_others: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Called by ``import`` before any other finder."""
        self.hear([name])

    def hear(self, names: Iterable[str]) -> None:
        """Note that the present thread imports these."""
        (self.own if get_ident() == self._thread else self.of_others).update(names)


def _restore_modules(before: dict[str, ModuleType], watch: _ImportWatch) -> None:
    new = {
        name: module
        for name, module in sys.modules.copy().items()
        if name not in before and (name in watch.own or _is_put_by_hand(name, module))
    }
    lasting = {name.partition(".")[0] for name, module in new.items() if _outlasts(name, module)}
    aside = {}
    for name, module in new.items():
        if sys.modules.pop(name, None) is None:
            continue
        if name.partition(".")[0] in lasting or f"{name}.".startswith(f"{_OWN_PACKAGE}."):
            aside[name] = module
        else:
            _forget_attribute(name, module)
    for name, module in before.items():
        if sys.modules.get(name) is not module and name not in watch.of_others:
            sys.modules[name] = module
    if aside:
        sys.meta_path.insert(0, _SetAside(aside))


def _forget_attribute(name: str, module: ModuleType) -> None:
    parent, _, own_name = name.rpartition(".")
    package = sys.modules.get(parent)
    if package is not None and getattr(package, own_name, None) is module:
        delattr(package, own_name)


def _is_put_by_hand(name: str, module: Any) -> bool:
    return getattr(getattr(module, "__spec__", None), "name", None) != name


def _outlasts(name: str, module: ModuleType) -> bool:
    """Whether a module may be held by others, or cannot be loaded again."""
    if _is_put_by_hand(name, module):
        return False
    spec = module.__spec__
    folders = list(getattr(spec, "submodule_search_locations", None) or ())
    file = getattr(module, "__file__", None) or (folders[0] if folders else "")
    if not file or file.endswith(tuple(EXTENSION_SUFFIXES)):
        return True  # built in, or compiled
    parts = file.split(os.sep)
    return any(each in parts for each in _INSTALLED) or os.path.realpath(file).startswith(
        _STANDARD_LIBRARY + os.sep
    )


class _SetAside:
    """Finder of the modules that one failed load left in memory; leaves once one is wanted.

    Then all of them come back together: they may look for each other in ``sys.modules``.
    """

    def __init__(self, modules: dict[str, ModuleType]) -> None:
        self._modules = modules

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Called by ``import`` for a module that is not in ``sys.modules``."""
        module = self._modules.get(name)
        if module is None:
            return None
        known: Any = module.__spec__
        locations = None if known is None else known.submodule_search_locations
        origin = None if known is None else known.origin
        spec = ModuleSpec(name, self, origin=origin, is_package=locations is not None)  # type: ignore[arg-type]
        spec.submodule_search_locations = locations
        spec.loader_state = known
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Give the module that was there all the time."""
        for name, module in self._modules.items():
            if name != spec.name:
                sys.modules.setdefault(name, module)
        for finder in sys.meta_path.copy():
            if isinstance(finder, _ImportWatch):
                finder.hear(self._modules)  # that load may fail, too
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        return self._modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Nothing runs twice; ``import`` only wrote its new spec into the module."""
        spec: Any = module.__spec__
        module.__spec__ = spec.loader_state
