"""A registry: names of components, the tree in which they are looked up, and building."""

from __future__ import annotations

import sys
from _weakref import ref  # what `weakref` is made of, without the rest of it
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import GenericAlias

from drivetrain.registry._build import (
    build_from_cfg,
    build_model_from_cfg,
    failed_build,
    misused_build,
)
from drivetrain.registry._discovery import (
    Provider,
    location_provider,
    providers_for,
)
from drivetrain.registry._errors import RegistrationError, UsageError
from drivetrain.registry._live import living_registry, remember
from drivetrain.registry._node import ATOMS, factory_of, resolve_arguments
from drivetrain.registry._registering import (
    add_child,
    check_arguments,
    enter,
    globals_of_creator,
    names_given,
    names_of,
    package_of,
    where_defined,
)
from drivetrain.registry._scope import (
    DefaultScope,
    current_scope,
    overwriting_scope,
    overwritten_scope,
)
from drivetrain.registry._search import find, require, search_order, warn_of_failure
from drivetrain.registry._table import Table, lock

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any, Generic, TypeVar, overload

    T = TypeVar("T")
    C = TypeVar("C", bound=Callable[..., Any])
    BuildFunc = Callable[..., Any]
else:
    T = "T"

    class Generic:
        """Stands in for that of ``typing``: ``Registry[Model]`` can be written and subclassed."""

        __class_getitem__ = classmethod(GenericAlias)


_NOTHING: dict[str, Any] = {}
_PLAIN_BUILDS = (build_from_cfg, build_model_from_cfg)


class Registry(Generic[T]):
    """Names of classes and functions, and how to build from them.

    Registries form trees: a project's registry has a parent, and finds the parent's components
    besides its own. Each has a scope; ``"scope.Name"`` reaches a component anywhere in the tree.

    Args:
        name: Name of the registry; entry points refer to it.
        build_func: Called as ``build_func(cfg, *args, **kwargs, registry=self)`` by ``build``.
            Default: the parent's, or ``build_from_cfg``.
        parent: Registry in which names are looked up that this one does not have.
        scope: Prefix under which other registries of the tree reach this one. Default: the
            top-level package of the module that creates the registry.
        locations: Modules that register components here; imported at the first missing name.

    Raises:
        DuplicateNameError: If the parent has a child of that scope already.
        RegistrationError: If an argument has the wrong type.

    Example:
        >>> MODELS = Registry("model", scope="example")
        >>> @MODELS.register_module()
        ... class ResNet:
        ...     def __init__(self, depth: int, stages: int = 4) -> None:
        ...         self.depth = depth
        >>> MODELS.build({"type": "ResNet", "depth": 50}).depth
        50
    """

    def __init__(
        self,
        name: str,
        build_func: BuildFunc | None = None,
        parent: Registry[Any] | None = None,
        scope: str | None = None,
        locations: Sequence[str] = (),
    ) -> None:
        check_arguments(name, build_func, parent, scope, locations)
        self._name = name
        self._home = globals_of_creator(self)
        self._scope = package_of(self._home) if scope is None else scope
        # Weak, so that a registry that nobody uses any more is gone at once, not some time later.
        weak = ref(self)

        def forget() -> None:
            registry = weak()
            if registry is not None:
                registry._forget_resolved()

        self._children: dict[str, Registry[Any]] = Table(forget)
        self._locations = list(locations)
        self._module_dict: dict[str, Any] = Table(forget)
        # Per scope in force: names that were resolved, and what to call for them.
        self._resolved: dict[str | None, dict[str, Callable[..., Any]]] = {}
        self._is_plain = False
        self.parent = parent
        if build_func is None:
            build_func = build_from_cfg if parent is None else parent.build_func
        self.build_func = build_func
        if parent is not None:
            add_child(parent, self)
        remember(self)

    # --- what it is ---------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the registry."""
        return self._name

    @property
    def scope(self) -> str:
        """Prefix under which other registries of the tree reach this one."""
        return self._scope

    @property
    def module_dict(self) -> dict[str, Any]:
        """The components registered here until now, by name."""
        return self._module_dict

    @property
    def children(self) -> dict[str, Registry[Any]]:
        """The registries that have this one as their parent, by scope."""
        return self._children

    @property
    def root(self) -> Registry[Any]:
        """The registry at the top of the tree."""
        registry: Registry[Any] = self
        while registry.parent is not None:
            registry = registry.parent
        return registry

    @property
    def build_func(self) -> BuildFunc:
        """What ``build`` calls."""
        return self._build_func

    @build_func.setter
    def build_func(self, build_func: BuildFunc) -> None:
        self._build_func = build_func
        self._is_plain = build_func in _PLAIN_BUILDS

    def __len__(self) -> int:
        return len(self._module_dict)

    def __bool__(self) -> bool:
        return True  # an empty registry is still a registry

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and find(self, key) is not None

    def __repr__(self) -> str:
        head = f"Registry(name={self._name!r}, scope={self._scope!r}, {len(self)} names)"
        names = sorted(self._module_dict)
        width = max(map(len, names), default=0)
        rows = [f"  {name:{width}}  {where_defined(self._module_dict[name])}" for name in names]
        return "\n".join([head, *rows])

    def __copy__(self) -> Registry[T]:
        return self  # a registry is a place: a copied model must go on using the same one

    def __deepcopy__(self, memo: dict[int, Any]) -> Registry[T]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return living_registry, (self._name, self._scope)

    # --- registering --------------------------------------------------------------------------

    if TYPE_CHECKING:

        @overload
        def register_module(
            self, name: str | Sequence[str] | None = None, force: bool = False, module: None = None
        ) -> Callable[[C], C]: ...

        @overload
        def register_module(
            self, name: str | Sequence[str] | None = None, force: bool = False, *, module: C
        ) -> C: ...

        @overload
        def register_module(
            self, name: str | Sequence[str] | None, force: bool, module: C
        ) -> C: ...

    def register_module(
        self,
        name: str | Sequence[str] | None = None,
        force: bool = False,
        module: Any = None,
    ) -> Any:
        """Register a class or a function; as a decorator, or with ``module`` as a plain call.

        Args:
            name: Name or names to register it under. Default: its ``__name__``.
            force: Replace a component that has the name already.
            module: What to register. Default: return a decorator.

        Returns:
            What was registered, or the decorator.

        Raises:
            DuplicateNameError: If the name is taken and ``force`` is not set.
            RegistrationError: If an argument has the wrong type.

        Example:
            >>> HOOKS = Registry("hook", scope="example")
            >>> @HOOKS.register_module(name=["timer", "stop_watch"])
            ... class TimerHook:
            ...     pass
            >>> HOOKS.register_module(module=print)
            <built-in function print>
            >>> sorted(HOOKS.module_dict)
            ['print', 'stop_watch', 'timer']
        """
        if not isinstance(force, bool):
            raise RegistrationError(
                f"{self._name}: `force` must be a bool, got {force!r}.",
                (("Perhaps:", "pass the object as register_module(module=...)"),),
            )
        names = names_given(name, self._name)
        if module is not None:
            return self._register(module, names, force)
        return lambda component: self._register(component, names, force)

    def _register(self, component: C, names: list[str] | None, force: bool) -> C:
        names = names_of(component, names, self._name)
        enter(component, names, self, force)
        return component

    def _forget_resolved(self) -> None:
        """Names of this tree changed: look everything up again."""
        with lock:
            for registry in self.root.tree():
                registry._resolved = {}

    # --- looking up ---------------------------------------------------------------------------

    def get(self, key: str) -> Callable[..., T] | None:
        """Return the component of that name, or ``None``.

        Looked up here, then in the parents. ``"scope.Name"`` is looked up in the registry of that
        scope only, anywhere in the tree. A dotted path that is no registered name is imported.

        Args:
            key: Name, ``scope.name`` or dotted import path.

        Raises:
            UsageError: If ``key`` is no string.
        """
        if not isinstance(key, str):
            raise UsageError(f"{self._name}: the key must be a string, got {key!r}")
        found: Callable[..., T] | None
        try:
            found = find(self, key)
        except Exception as err:
            warn_of_failure(key, err)
            return None
        if found is None:
            for provider in self.providers():
                if provider.error is not None:
                    warn_of_failure(key, provider.error)
        return found

    def require(self, key: str) -> Callable[..., T]:
        """Return the component of that name, as ``get``, but never ``None``.

        Raises:
            UnknownComponentError: If nothing installed offers that name; with the traceback of
                providers that could not be imported.
        """
        found: Callable[..., T] = require(self, key, [self], None)
        return found

    def tree(self) -> Iterator[Registry[Any]]:
        """Yield this registry and all that are below it, level by level."""
        pending: list[Registry[Any]] = [self]
        for registry in pending:
            yield registry
            pending += registry._children.values()

    def providers(self) -> list[Provider]:
        """The modules that are imported when a name is missing here; imports none of them."""
        located = [location_provider(m, self._scope, self._name) for m in self._locations]
        return located + providers_for(self._scope, (self._name, self.root._name))

    # --- building -----------------------------------------------------------------------------

    def build(self, cfg: Any, *args: Any, **kwargs: Any) -> T:
        """Build what a node describes.

        Args:
            cfg: A mapping with ``type`` (a name, ``scope.name``, a dotted path, or the class or
                function itself); its other keys are the arguments. ``_scope_`` puts another scope
                in force for it and what it builds. Anything built already is returned as it is.
            *args: For a ``build_func`` of your own.
            **kwargs: For the ``build_func``; the default one takes ``default_args``.

        Raises:
            UnknownComponentError: If nothing installed offers the type.
            ComponentArgumentError: If the keys do not fit the arguments.
            ComponentBuildError: If the component raises; also an instance of what it raised.
            NodeError: If ``cfg`` is no node.

        Example:
            >>> FUNCTIONS = Registry("function", scope="example")
            >>> FUNCTIONS.build({"type": "fractions.Fraction", "numerator": 1, "denominator": 3})
            Fraction(1, 3)
        """
        # The quick way: a name that was resolved before. All else goes through build_func.
        if args or kwargs or not self._is_plain:
            return self._call_build_func(cfg, args, kwargs)
        arguments = _NOTHING
        factory: Callable[..., T] | None
        try:
            arguments = {**cfg}
            scope = overwritten_scope.get()
            if scope is None:
                # The instance that was created last, if there is any.
                for scope in reversed(DefaultScope._instance_dict.values()):  # noqa: B007
                    break
            known = self._resolved.get(None if scope is None else scope._scope_name, _NOTHING)
            if "_scope_" in arguments:
                factory = None
            else:
                kind: Any = arguments.pop("type")
                # A class stands for itself; one with a metaclass may be built in other ways.
                factory = kind if type(kind) is type else known.get(kind)
        except Exception:
            # Not called from in here: what it raises would show this exception as its context.
            factory = None
        if factory is None:
            if "_scope_" in arguments:
                return self._build_in_scope(cfg, arguments)
            return self._call_build_func(cfg, args, kwargs)
        try:
            for value in arguments.values():
                if type(value) not in ATOMS:
                    resolve_arguments(arguments)
                    break
            return factory(**arguments)  # type: ignore[no-any-return,unused-ignore]  # a T
        except Exception as err:
            located = failed_build(err, factory, arguments, cfg, self)
            if located is err:
                raise
            raise located from err

    def _build_in_scope(self, cfg: Any, arguments: dict[str, Any]) -> T:
        scope_name, kind = arguments.pop("_scope_"), arguments.pop("type", None)
        factory: Callable[..., T] | None = None
        if isinstance(scope_name, str) and isinstance(kind, str):
            factory = self._resolved.get(scope_name, {}).get(kind)
        if factory is None:
            return self._call_build_func(cfg, (), {})
        token = overwritten_scope.set(overwriting_scope(scope_name))
        try:
            resolve_arguments(arguments)
            return factory(**arguments)
        except Exception as err:
            located = failed_build(err, factory, arguments, cfg, self)
            if located is err:
                raise
            raise located from err
        finally:
            overwritten_scope.reset(token)

    def _call_build_func(self, cfg: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        if self._is_plain and (args or kwargs.keys() - {"default_args"}):
            raise misused_build(self, args, kwargs)
        try:
            built: T = self._build_func(cfg, *args, registry=self, **kwargs)
            return built
        except Exception as err:
            located = failed_build(err, self._build_func, {}, cfg, self)
            if located is err:
                raise
            raise located from err

    def factory(self, kind: Any) -> Callable[..., Any]:
        """What to call to build a ``type`` in the scope in force.

        Raises:
            UnknownComponentError: If ``kind`` is a name that nothing installed offers.
        """
        if not isinstance(kind, str):
            return factory_of(kind)
        scope = current_scope()
        known = self._resolved.get(scope, {}).get(kind)
        if known is not None:
            return known
        order = search_order(self, scope)
        found = require(self, kind, order, scope)
        known = self.known_factory(kind)
        return factory_of(found) if known is None else known

    def known_factory(self, kind: str) -> Callable[..., Any] | None:
        """What to call to build a name that is registered by now; imports nothing.

        Returns:
            ``None`` for a name that is not registered, or not yet.
        """
        scope = current_scope()
        with lock:  # no name changes between looking it up and keeping it
            for registry in search_order(self, scope, explore=False):
                registered = find(registry, kind, explore=False)
                if registered is not None:
                    found = factory_of(registered)
                    self._resolved.setdefault(scope, {})[kind] = found
                    return found
        return None

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry[Any]]:
        """Put a scope in force inside a ``with`` block, and yield its registry.

        Args:
            scope: The scope; ``None`` keeps the one in force.

        Yields:
            The registry of the scope in force, in this tree; this one, if there is none.
        """
        with DefaultScope.overwrite_default_scope(scope):
            yield search_order(self, current_scope())[0]

    # --- scopes -------------------------------------------------------------------------------

    @staticmethod
    def infer_scope() -> str:
        """Return the top-level package of the module that calls this."""
        return package_of(sys._getframe(1).f_globals)

    @staticmethod
    def split_scope_key(key: str) -> tuple[str | None, str]:
        """Split the first scope off a key.

        Example:
            >>> Registry.split_scope_key("mmdet.ResNet")
            ('mmdet', 'ResNet')
            >>> Registry.split_scope_key("ResNet")
            (None, 'ResNet')
        """
        scope, dot, rest = key.partition(".")
        return (scope, rest) if dot else (None, key)
