"""References to classes and functions that a config names without importing them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from drivetrain.config._errors import LazyImportError, nearest_names


class LazyObject:
    """A module, or something inside one, that is imported only when it is needed.

    A config that says ``from torch.optim import SGD`` gets one of these for ``SGD``. It is equal to
    the object it stands for, can be copied, pickled and dumped without an import, and turns into
    the object when :meth:`build` is called, or when a config needs it (calls it, computes with it).
    Comparing it with a plain value compares the reference: write ``SIZE.build() == 3``.

    Args:
        module: Dotted name of the module.
        name: Dotted path inside the module; empty for the module itself.
        location: ``file:line`` of the import, for errors.

    Example:
        >>> LazyObject("collections", "OrderedDict").build()
        <class 'collections.OrderedDict'>
    """

    __slots__ = ("_location", "_module", "_name", "_target")

    def __init__(self, module: str, name: str = "", location: str | None = None) -> None:
        self._module = module
        self._name = name
        self._location = location
        self._target: Any = _UNSET

    @property
    def module(self) -> str:
        """Dotted name of the module."""
        return self._module

    @property
    def name(self) -> str:
        """Dotted path inside the module; empty for the module itself."""
        return self._name

    @property
    def location(self) -> str | None:
        """``file:line`` of the import, if it is known."""
        return self._location

    @property
    def dotted_path(self) -> str:
        """The whole path, as a registry or ``type='...'`` understands it."""
        return f"{self._module}.{self._name}" if self._name else self._module

    def build(self) -> Any:
        """Import and return the object.

        Raises:
            LazyImportError: If there is no such module or name.
        """
        if self._target is _UNSET:
            self._target = self._import()
        return self._target

    def _import(self) -> Any:
        try:
            target = _import_module_or_name(self._module)
            for part in self._name.split(".") if self._name else ():
                target = _attribute(target, part)
        except Exception as err:  # whatever the code of the module raises
            expected = isinstance(err, (ImportError, AttributeError))
            reason = err if expected else f"{type(err).__name__}: {err}"
            filename, _, line = (self._location or "").rpartition(":")
            raise LazyImportError(
                f"cannot import {self.dotted_path!r}: {reason}",
                filename=filename or None,
                lineno=int(line) if line else None,
            ) from err
        return target

    def __getattr__(self, name: str) -> LazyObject:
        if name.startswith("__") and name.endswith("__") and name != "__version__":
            # Protocol probes (copy, pickle, numpy, ...) must not be taken for names in a module.
            raise AttributeError(name)
        path = f"{self._name}.{name}" if self._name else name
        return LazyObject(self._module, path, self._location)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.build()(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LazyObject):
            return self.dotted_path == other.dotted_path or self._is_same_object(other)
        if isinstance(other, (str, int, float, dict, list, tuple, type(None))):
            return False
        path = path_of_object(other)
        if path is None:
            return NotImplemented
        if path == self.dotted_path:
            return True
        # Another name may lead to the same object: torch.optim.SGD is torch.optim.sgd.SGD.
        return self._module.partition(".")[0] in sys.modules and self.build() is other

    def _is_same_object(self, other: LazyObject) -> bool:
        return (
            self._target is not _UNSET
            and other._target is not _UNSET
            and self._target is other._target
        )

    def __hash__(self) -> int:
        return hash(self._name.rpartition(".")[2] or self._module)

    def __repr__(self) -> str:
        return f"<lazy {self.dotted_path}>"

    def __str__(self) -> str:
        return self.dotted_path

    def __copy__(self) -> LazyObject:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyObject:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyObject, (self._module, self._name, self._location)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self.build(),)  # a class statement that names it as a base

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self.build())

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, self.build())

    # What a config computes with, it needs now.
    def __iter__(self) -> Iterator[Any]:
        return iter(self.build())

    def __len__(self) -> int:
        return len(self.build())

    def __bool__(self) -> bool:
        return True if self._target is _UNSET and not self._name else bool(self.build())

    def __getitem__(self, key: Any) -> Any:
        return self.build()[key]

    def __contains__(self, item: object) -> bool:
        return item in self.build()

    def __add__(self, other: Any) -> Any:
        return self.build() + other

    def __radd__(self, other: Any) -> Any:
        return other + self.build()

    def __sub__(self, other: Any) -> Any:
        return self.build() - other

    def __rsub__(self, other: Any) -> Any:
        return other - self.build()

    def __mul__(self, other: Any) -> Any:
        return self.build() * other

    def __rmul__(self, other: Any) -> Any:
        return other * self.build()

    def __truediv__(self, other: Any) -> Any:
        return self.build() / other

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.build()

    def __floordiv__(self, other: Any) -> Any:
        return self.build() // other

    def __rfloordiv__(self, other: Any) -> Any:
        return other // self.build()

    def __mod__(self, other: Any) -> Any:
        return self.build() % other

    def __pow__(self, other: Any) -> Any:
        return self.build() ** other

    def __rpow__(self, other: Any) -> Any:
        return other ** self.build()

    def __neg__(self) -> Any:
        return -self.build()

    def __lt__(self, other: Any) -> Any:
        return self.build() < other

    def __le__(self, other: Any) -> Any:
        return self.build() <= other

    def __gt__(self, other: Any) -> Any:
        return self.build() > other

    def __ge__(self, other: Any) -> Any:
        return self.build() >= other

    def __or__(self, other: Any) -> Any:
        return self.build() | other

    def __index__(self) -> int:
        return self.build().__index__()

    def __int__(self) -> int:
        return int(self.build())

    def __float__(self) -> float:
        return float(self.build())

    def __format__(self, spec: str) -> str:
        return format(self.build(), spec)


_UNSET = object()


def is_lazy(value: Any) -> bool:
    """Whether ``value`` is a lazy reference."""
    return type(value) is LazyObject


def _import_module_or_name(module: str) -> Any:
    """Import ``module``; when its tail is no module, take it as a name in the head."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as err:
        head, _, tail = module.rpartition(".")
        # Only a missing `module` itself may be a name: a module missing inside it is an error.
        if not head or err.name != module:
            raise
        return _attribute(_import_module_or_name(head), tail)


def _attribute(target: Any, name: str) -> Any:
    try:
        return getattr(target, name)
    except AttributeError as err:
        if hasattr(target, "__path__"):
            submodule = f"{target.__name__}.{name}"  # perhaps not yet loaded
            try:
                return importlib.import_module(submodule)
            except ModuleNotFoundError as missing:
                if missing.name != submodule:
                    raise
        near = " or ".join(map(repr, nearest_names(name, dir(target))))
        where = getattr(target, "__name__", None) or repr(target)
        hint = f"; did you mean {near}?" if near else ""
        raise AttributeError(f"{where} has no {name!r}{hint}") from err


def importable(value: Any) -> tuple[str, str] | None:
    """Module, and dotted path in it, under which ``value`` can be imported again.

    Classes, functions, members of enumerations, and objects whose ``repr`` is their dotted path, as
    that of ``torch.float32`` is.
    """
    if isinstance(value, LazyObject):
        return value.module, value.name
    kind = type(value)
    if isinstance(getattr(kind, "__members__", None), Mapping) and hasattr(value, "name"):
        found = kind.__module__, f"{kind.__qualname__}.{value.name}"
    else:
        found = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if not all(isinstance(part, str) for part in found) and kind.__module__ != "builtins":
            module, _, name = repr(value).rpartition(".")
            found = module, name
    module, name = found
    if not module or not name or not _leads_to(module, name, value):
        return None
    return module, name


def _leads_to(module: str, name: str, value: Any) -> bool:
    """Whether a dotted path, in what is loaded already, ends at ``value``."""
    if module in ("__main__", "__config__") or "<" in name:
        return False
    target: Any = sys.modules.get(module)
    for part in name.split("."):
        target = getattr(target, part, None)
    return target is value


def path_of_object(value: Any) -> str | None:
    """The same as one dotted path."""
    found = importable(value)
    if found is None:
        return None
    return f"{found[0]}.{found[1]}" if found[1] else found[0]
