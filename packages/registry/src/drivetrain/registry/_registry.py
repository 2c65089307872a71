"""A registry: names of components, and how to build from them."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Generic, TypeVar

from drivetrain.registry._building import current_path
from drivetrain.registry._errors import (
    ComponentArgumentError,
    ComponentBuildError,
    DuplicateNameError,
    NodeError,
    RegistryError,
    UnknownComponentError,
)
from drivetrain.registry._manager import ManagerMeta, ManagerMixin
from drivetrain.registry._scope import DefaultScope, canonical_scope

T = TypeVar("T")


class Registry(Generic[T]):
    def __init__(self, name, build_func=None, parent=None, scope=None, locations=()):
        self._name = name
        self._module_dict = {}
        self._children = {}
        self.parent = parent
        self._locations = locations
        self._scope = scope or sys._getframe(1).f_globals["__name__"].split(".")[0]
        self.build_func = build_func or (parent.build_func if parent is not None else build_from_cfg)
        if parent is not None:
            parent._children[self._scope] = self
        self._searched = set()

    name = property(lambda self: self._name)
    scope = property(lambda self: self._scope)
    module_dict = property(lambda self: self._module_dict)
    children = property(lambda self: self._children)

    def __len__(self):
        return len(self._module_dict)

    def __contains__(self, key):
        return self.get(key) is not None

    def root(self):
        r = self
        while r.parent is not None:
            r = r.parent
        return r

    def _for_scope(self, scope):
        scope = canonical_scope(scope)
        pending = [self.root()]
        while pending:
            r = pending.pop(0)
            if canonical_scope(r._scope) == scope:
                return r
            pending += r._children.values()
        return None

    def _discover(self, scope):
        root = self.root()
        if scope in root._searched:
            return
        root._searched.add(scope)
        from importlib.metadata import entry_points

        for e in entry_points(group="drivetrain.components"):
            if e.name == f"{scope}.{root._name}":
                import_module(e.value)

    def get(self, key):
        r = self
        scope, _, rest = key.rpartition(".")
        if scope:
            self._discover(canonical_scope(scope))
            r = self._for_scope(scope)
            if r is None:
                mod, _, name = key.rpartition(".")
                try:
                    return getattr(import_module(mod), name, None)
                except ModuleNotFoundError:
                    return None
            return r._module_dict.get(rest)
        while r is not None:
            if key not in r._module_dict:
                for loc in r._locations:
                    import_module(loc)
                self._discover(canonical_scope(r._scope))
            if key in r._module_dict:
                return r._module_dict[key]
            r = r.parent
        return None

    def build(self, cfg, *args, **kwargs):
        return self.build_func(cfg, *args, **kwargs, registry=self)

    def register_module(self, name=None, force=False, module=None):
        def deco(obj):
            names = [obj.__name__] if name is None else [name] if isinstance(name, str) else name
            for n in names:
                if n in self._module_dict and not force:
                    raise DuplicateNameError(f"{n!r} is already registered in {self._name!r}")
                self._module_dict[n] = obj
            return obj

        return deco if module is None else deco(module)


def build_from_cfg(cfg, registry, default_args=None):
    where = current_path()
    where = where + ": " if where else ""
    if not hasattr(cfg, "keys"):
        if cfg is None or isinstance(cfg, (str, int, float, list, tuple, type)):
            raise NodeError(f"{where}a node is a mapping with `type`, got {cfg!r}")
        return cfg
    kwargs = {**(default_args or {}), **cfg}
    scope = kwargs.pop("_scope_", None)
    with DefaultScope.overwrite_default_scope(scope):
        current = DefaultScope.get_current_instance()
        if current is not None:
            registry = registry._for_scope(current.scope_name) or registry
        if "type" not in kwargs:
            raise NodeError(f"{where}the node has no `type`: {kwargs!r}")
        kind = kwargs.pop("type")
        factory = registry.get(kind) if isinstance(kind, str) else kind
        if factory is None:
            raise UnknownComponentError(f"{where}no {kind!r} in registry {registry._name!r}")
        if isinstance(factory, ManagerMeta) and issubclass(factory, ManagerMixin):
            factory = factory.get_instance
        try:
            return factory(**kwargs)
        except RegistryError:
            raise
        except TypeError as err:
            raise ComponentArgumentError(f"{where}{kind}: {err}") from err
        except Exception as err:
            try:
                cls = type("ComponentBuildError", (ComponentBuildError, type(err)), {})
                new = cls(f"{where}{kind}: {type(err).__name__}: {err}")
            except TypeError:
                new = ComponentBuildError(f"{where}{kind}: {type(err).__name__}: {err}")
            raise new from err
