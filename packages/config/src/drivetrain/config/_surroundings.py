"""What a config that fails to load leaves behind: nothing."""

from __future__ import annotations

import os
import sys
from _thread import get_ident  # `threading` has the same function, and takes longer to import
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType
from typing import Any

_STANDARD_LIBRARY = os.path.dirname(os.path.realpath(os.__file__))
_INSTALLED = ("site-packages", "dist-packages")


@contextmanager
def restored_on_failure() -> Iterator[None]:
    """Undo what a load that fails did to the process.

    The import path, the environment and the working folder become what they were, and modules that
    this thread imported are unloaded. Three kinds of modules stay: those of the standard library
    and of installed packages, which others may hold by now, and packages with compiled modules,
    which no process can load twice.
    """
    path, environment = list(sys.path), os.environ.copy()
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
        _unload(watch.names)
        raise
    finally:
        if watch in sys.meta_path:
            sys.meta_path.remove(watch)


class _ImportWatch:
    """Hears of every module that its own thread begins to import; finds none itself."""

    def __init__(self) -> None:
        self._thread = get_ident()
        self.names: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Called by ``import`` before any other finder."""
        if get_ident() == self._thread:
            self.names.append(name)


def _unload(names: list[str]) -> None:
    """Unload the modules that are the user's own."""
    loaded = {name: sys.modules[name] for name in names if name in sys.modules}
    staying = {name.partition(".")[0] for name, module in loaded.items() if _has_to_stay(module)}
    for name, module in loaded.items():
        parent, _, own_name = name.rpartition(".")
        if name.partition(".")[0] in staying:
            continue
        del sys.modules[name]
        package = sys.modules.get(parent)
        if package is not None and getattr(package, own_name, None) is module:
            delattr(package, own_name)


def _has_to_stay(module: ModuleType) -> bool:
    spec = getattr(module, "__spec__", None)
    folders = list(getattr(spec, "submodule_search_locations", None) or ())
    file = getattr(module, "__file__", None) or (folders[0] if folders else "")
    if not file or file.endswith(tuple(EXTENSION_SUFFIXES)):
        return True  # built in, or compiled
    parts = file.split(os.sep)
    return any(each in parts for each in _INSTALLED) or os.path.realpath(file).startswith(
        _STANDARD_LIBRARY + os.sep
    )
