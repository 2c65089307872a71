"""Pure Python configs: ``with read_base():`` and imports that import nothing until needed."""

from __future__ import annotations

import builtins
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from drivetrain.config._configdict import fresh
from drivetrain.config._errors import ConfigFileNotFoundError, ConfigImportError, nearest_hint
from drivetrain.config._lazy import LazyObject
from drivetrain.config._python_file import bound_names, compile_config, run_config
from drivetrain.config._sources import missing_file, package_folder

ReadFile = Callable[[str, int], "PureModule"]


@contextmanager
def read_base() -> Iterator[None]:
    """Mark the imports of a pure Python config that name its bases.

    ``Config.fromfile`` reads the files that are imported under it as configs. To an editor, or when
    the config is imported as a module, they are ordinary imports.

    Example:
        >>> with read_base():
        ...     pass  # from .base import *
    """
    yield


class PureModule(NamedTuple):
    """A pure Python config that was run.

    Attributes:
        path: The file.
        values: Its keys.
        helpers: What else it defines: imported names, functions, classes.
    """

    path: str
    values: dict[str, Any]
    helpers: dict[str, Any]


def run_pure(text: str, filename: str, read: ReadFile) -> PureModule:
    """Run a pure Python config.

    Args:
        text: Its source.
        filename: Its path; relative imports start from its folder.
        read: Loads another config, given its path and the line that asks for it.
    """
    importer = _Importer(filename, read)
    namespace: dict[str, Any] = {
        "__file__": filename,
        "__name__": "__config__",
        "__builtins__": {
            **vars(builtins),
            "__import__": importer,
            "read_base": importer.read_base,  # for files that do not import it
        },
    }
    run_config(compile_config(text, filename), namespace, filename)
    bound = bound_names(text, filename)
    own_helpers = bound.helping - bound.from_bases
    module = PureModule(filename, {}, {})
    for key, value in namespace.items():
        if key.startswith("__"):
            continue
        helps = key in own_helpers or id(value) in importer.base_helper_ids
        is_helper = helps and key not in bound.assigned
        if is_helper or isinstance(value, types.ModuleType) or _is_local(value):
            module.helpers[key] = value
        else:
            module.values[key] = value
    return module


def _is_local(value: Any) -> bool:
    """Whether ``value`` is a function or a class that a config defines: those are no keys."""
    kinds = (types.FunctionType, type)
    return isinstance(value, kinds) and value.__module__ == "__config__"


class _Importer:
    """``__import__`` of one pure Python config while it runs.

    Under ``read_base`` it loads configs; elsewhere it imports the standard library at once (that is
    cheap, and what a config computes with), and everything else when it is needed.
    """

    def __init__(self, filename: str, read: ReadFile) -> None:
        self._filename = filename
        self._read = read
        self._reads_bases = False
        self.base_helper_ids: set[int] = set()

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: tuple[str, ...] | None = (),
        level: int = 0,
    ) -> Any:
        """Called by the import statements of the config, with what they say."""
        lineno = sys._getframe(1).f_lineno
        names = tuple(fromlist or ())
        if "read_base" in names:
            return _namespace(name, dict.fromkeys(names, self.read_base))
        if self._reads_bases:
            return self._import_base(name, names, level, lineno)
        if level:
            raise ConfigImportError(
                f"relative import of {'.' * level + name!r}: a config imports its bases under "
                "`with read_base():`, and code by its absolute name",
                filename=self._filename,
                lineno=lineno,
            )
        if name.partition(".")[0] in sys.stdlib_module_names:
            return builtins.__import__(name, globals, locals, names, 0)
        location = f"{self._filename}:{lineno}"
        if "*" in names:
            raise ConfigImportError(
                f"`from {name} import *`: what it brings is known only after importing; name the "
                "objects, or put it under `with read_base():` if it is a config",
                filename=self._filename,
                lineno=lineno,
            )
        return LazyObject(name if names else name.partition(".")[0], "", location)

    @contextmanager
    def read_base(self) -> Iterator[None]:
        """What ``read_base`` is inside the config."""
        self._reads_bases = True
        try:
            yield
        finally:
            self._reads_bases = False

    def _import_base(self, name: str, names: tuple[str, ...], level: int, lineno: int) -> Any:
        folder, parts = self._start_folder(name, level, lineno)
        path = os.path.normpath(os.path.join(folder, *parts))
        if parts and os.path.isfile(path + ".py"):
            module = self._load(path + ".py", lineno)
            if not names:  # import a.b.c: the statement binds a, and finds b and c in it
                return _nested(parts, module) if level == 0 else module
            self._check_names(module, names, lineno)
            return module
        files = {each: os.path.join(path, f"{each}.py") for each in names}
        missing = [file for file in files.values() if not os.path.isfile(file)]
        if missing or not names:
            file = path + ".py" if parts and not os.path.isdir(path) else (missing or [path])[0]
            raise ConfigFileNotFoundError(
                f"no config {'.' * level + name!r}: {missing_file(file)}",
                filename=self._filename,
                lineno=lineno,
            )
        return _namespace(name, {each: self._load(file, lineno) for each, file in files.items()})

    def _start_folder(self, name: str, level: int, lineno: int) -> tuple[str, list[str]]:
        """Folder to start from, and the path from there."""
        parts = name.split(".") if name else []
        if level:
            folder = os.path.dirname(self._filename)
            return os.path.normpath(os.path.join(folder, *[".."] * (level - 1))), parts
        folder = package_folder(parts[0])
        if folder is None:
            raise ConfigFileNotFoundError(
                f"no config {name!r}: package {parts[0]!r} is not installed",
                filename=self._filename,
                lineno=lineno,
            )
        return os.path.dirname(folder), parts

    def _load(self, path: str, lineno: int) -> types.ModuleType:
        """A module object with copies of what the config ``path`` defines."""
        base = self._read(path, lineno)
        values = {key: _own(value) for key, value in base.values.items()}
        helpers = {
            key: value
            for key, value in base.helpers.items()
            if isinstance(value, LazyObject) or callable(value)
        }
        self.base_helper_ids.update(map(id, helpers.values()))
        return _namespace(path, {**helpers, **values})

    def _check_names(self, module: types.ModuleType, names: tuple[str, ...], lineno: int) -> None:
        for name in names:
            if name != "*" and not hasattr(module, name):
                raise ConfigImportError(
                    f"{module.__name__} defines no {name!r}{nearest_hint(name, module.__all__)}",
                    filename=self._filename,
                    lineno=lineno,
                )


def _own(value: Any) -> Any:
    """A copy of a base's value; a reference gets a new identity, which tells it from an import."""
    if isinstance(value, LazyObject):
        return LazyObject(value.module, value.name, value.location)
    return fresh(value)


def _namespace(name: str, content: dict[str, Any]) -> types.ModuleType:
    """A module object, never entered in ``sys.modules``, for an import statement to read."""
    module = types.ModuleType(name)
    module.__dict__.update(content)
    module.__dict__["__all__"] = list(content)
    return module


def _nested(parts: list[str], module: types.ModuleType) -> types.ModuleType:
    for index in range(len(parts) - 1, 0, -1):
        module = _namespace(".".join(parts[:index]), {parts[index]: module})
    return module
