"""The scope in which unprefixed names are looked up first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from drivetrain.registry._errors import UsageError
from drivetrain.registry._manager import ManagerMixin

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

ROOT_SCOPE = "drivetrain"
# Existing configs and downstream projects say `mmengine` for the root scope.
_ALIASES = {"mmengine": ROOT_SCOPE}


def canonical_scope(scope: str) -> str:
    """Return the scope that ``scope`` stands for."""
    return _ALIASES.get(scope, scope)


class DefaultScope(ManagerMixin):
    """The scope of the task at hand; registries switch to it before they look up a name.

    Args:
        name: Name of the instance.
        scope_name: The scope, for example ``"mmdet"``.

    Raises:
        UsageError: If ``scope_name`` is no string.

    Example:
        >>> DefaultScope.get_instance("task", scope_name="mmdet").scope_name
        'mmdet'
    """

    def __init__(self, name: str, scope_name: str) -> None:
        super().__init__(name)
        if not isinstance(scope_name, str):
            raise UsageError(f"DefaultScope: scope_name must be a string, got {scope_name!r}")
        self._scope_name = scope_name

    @property
    def scope_name(self) -> str:
        """The scope."""
        return self._scope_name

    @classmethod
    # Other named instances must exist; a default scope need not (documented), hence Any: the
    # base promises an instance.
    def get_current_instance(cls) -> Any:
        """Return the scope in force, or ``None`` when none was ever set.

        That is the innermost ``overwrite_default_scope`` of this thread, else the
        instance that was created last.
        """
        overwritten = overwritten_scope.get()
        return cls._latest() if overwritten is None else overwritten

    @classmethod
    @contextmanager
    def overwrite_default_scope(cls, scope_name: str | None) -> Iterator[None]:
        """Put another scope in force inside a ``with`` block, in this thread or task only.

        Args:
            scope_name: The scope; ``None`` changes nothing.
        """
        if scope_name is None:
            yield
            return
        token = overwritten_scope.set(overwriting_scope(scope_name))
        try:
            yield
        finally:
            overwritten_scope.reset(token)


overwritten_scope: ContextVar[DefaultScope | None] = ContextVar(
    "drivetrain.registry.default_scope", default=None
)


_overwriting: dict[str, DefaultScope] = {}


def overwriting_scope(scope_name: str) -> DefaultScope:
    """Return the instance that stands for a scope while it is put in force for a while."""
    scope = _overwriting.get(scope_name)
    if scope is None:
        scope = DefaultScope(f"overwrite-{scope_name}", scope_name)
        _overwriting[scope_name] = scope
    return scope


def current_scope() -> str | None:
    """Name of the scope in force, or ``None``."""
    scope = DefaultScope.get_current_instance()
    return None if scope is None else scope.scope_name


def init_default_scope(scope: str) -> None:
    """Make ``scope`` the default scope from now on.

    Args:
        scope: For example ``"mmdet"``. Calling again with another scope changes it.
    """
    if current_scope() == scope:
        return
    name, count = scope, 1
    while DefaultScope.check_instance_created(name):
        count += 1
        name = f"{scope}-{count}"
    DefaultScope.get_instance(name, scope_name=scope)
