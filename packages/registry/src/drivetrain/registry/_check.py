"""Finding the mistakes of a whole config without building anything of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from drivetrain.registry._errors import CheckError, RegistryError, UsageError
from drivetrain.registry._live import live_registries
from drivetrain.registry._node import factory_of, is_node, missing_type, no_node
from drivetrain.registry._path import dotted_path, join_path
from drivetrain.registry._registry import Registry
from drivetrain.registry._scope import DefaultScope

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

_SKIPPED = ("type", "_scope_")


class Root:
    """What stands at a place of a config, and what whoever builds it adds to the node.

    Attributes:
        registry: The registry that builds it.
        given: Names of arguments that the builder passes besides the node's own keys.
        default_type: The ``type`` of a node that names none.
        consumed: Keys that the builder takes out of the node before the component sees them.
        partial: Whether the node only binds arguments of a function that is called later, with
            the rest of them: then none is missing.
    """

    __slots__ = ("consumed", "default_type", "given", "partial", "registry")

    def __init__(
        self,
        registry: Registry[Any],
        given: Iterable[str] = (),
        default_type: str | None = None,
        consumed: Iterable[str] = (),
        partial: bool = False,
    ) -> None:
        self.registry = registry
        self.given = tuple(given)
        self.default_type = default_type
        self.consumed = tuple(consumed)
        self.partial = partial


class Problem:
    """One mistake.

    Attributes:
        path: Path of the node, such as ``custom_hooks.0``.
        kind: ``"unknown type"``, ``"no type"``, ``"no node"``, ``"no import"``,
            ``"unknown argument"``, ``"missing argument"`` or ``"duplicate argument"``.
        summary: One line.
        details: Label and text of the lines below it.
        certain: Whether the build is bound to fail. It is not for a node inside of another one:
            the component around it may add or take out keys before it builds it.
    """

    __slots__ = ("certain", "details", "kind", "path", "summary")

    def __init__(
        self,
        path: str,
        kind: str,
        summary: str,
        details: tuple[tuple[str, str], ...],
        certain: bool,
    ) -> None:
        self.path = path
        self.kind = kind
        self.summary = summary
        self.details = details
        self.certain = certain

    def __str__(self) -> str:
        err = RegistryError(self.summary, self.details)
        return str(err.placed(self.path, None))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "path": self.path,
            "kind": self.kind,
            "summary": self.summary,
            "details": [list(line) for line in self.details],
            "certain": self.certain,
        }


class Report:
    """What ``check`` found.

    Attributes:
        problems: Mistakes that are bound to fail, in the order of the config.
        suspicions: What looks like one, but may be what the component around it expects.
        checked: How many nodes were looked at.
    """

    __slots__ = ("checked", "problems", "suspicions")

    def __init__(self, found: Iterable[Problem], checked: int) -> None:
        found = tuple(found)
        self.problems = tuple(problem for problem in found if problem.certain)
        self.suspicions = tuple(problem for problem in found if not problem.certain)
        self.checked = checked

    @property
    def ok(self) -> bool:
        """Whether there are no mistakes (suspicions do not count)."""
        return not self.problems

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        lines += [f"{problem}\n  (perhaps)" for problem in self.suspicions]
        lines.append(
            f"{_count(self.checked, 'node')} checked: {_count(len(self.problems), 'mistake')}, "
            f"{_count(len(self.suspicions), 'suspicion')}."
        )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "ok": self.ok,
            "checked": self.checked,
            "problems": [problem.to_dict() for problem in self.problems],
            "suspicions": [problem.to_dict() for problem in self.suspicions],
        }

    def raise_if_bad(self) -> None:
        """Raise if there are mistakes.

        Raises:
            CheckError: With all of them.
        """
        if self.problems:
            head = f"the config has {_count(len(self.problems), 'mistake')}."
            raise CheckError("\n".join([head, *map(str, self.problems)]))


def check(
    cfg: Any,
    roots: Mapping[str, Registry[Any] | Root] | Registry[Any] | None = None,
    locate: Any = None,
) -> Report:
    """Find unknown types, and unknown, missing and duplicate arguments; build nothing.

    Types are looked up as ``build`` would, so modules that offer components may be imported.

    Args:
        cfg: A node, or a config with nodes anywhere in it.
        roots: Which registry builds what: dotted path to registry, or to a ``Root`` that says
            more. ``*`` stands for any key or index (``"default_hooks.*"``); a path to a list is
            about each of its items. One registry alone is about ``cfg`` itself.
            Nodes below or beside them are looked up in all registries, and give suspicions only.
        locate: Tells for a dotted path where it was written, as for ``building``.

    Raises:
        UsageError: If ``cfg`` or ``roots`` are of another type.

    Returns:
        The report; ``report.raise_if_bad()`` makes an error of it.

    Example:
        >>> HOOKS = Registry("hook", scope="example")
        >>> @HOOKS.register_module()
        ... class Timer:
        ...     def __init__(self, interval_iters: int = 50) -> None: ...
        >>> report = check({"hooks": [{"type": "Timer", "intervall": 1}]}, {"hooks": HOOKS})
        >>> [(problem.path, problem.kind) for problem in report.problems]
        [('hooks.0', 'unknown argument')]
    """
    if isinstance(roots, Registry):
        roots = {"": roots}
    _require(isinstance(cfg, (Mapping, list, tuple)), "cfg is a config, or a part of one", cfg)
    _require(
        roots is None or isinstance(roots, Mapping), "roots is a mapping {path: MODELS}", roots
    )
    for root in (roots or {}).values():
        _require(isinstance(root, (Registry, Root)), "a root is a Registry or a Root", root)
    patterns = {
        tuple(dotted_path(path).split(".")) if path else (): root
        if isinstance(root, Root)
        else Root(root)
        for path, root in (roots or {}).items()
    }
    walk = _Walk(patterns, locate)
    walk.visit(cfg, (), None, None)
    return Report(walk.problems, walk.checked)


def _require(is_good: bool, what: str, value: Any) -> None:
    if not is_good:
        raise UsageError(f"check: {what}, got {type(value).__name__} {str(value)[:80]!r}")


class _Walk:
    def __init__(self, patterns: dict[tuple[str, ...], Root], locate: Any) -> None:
        self._patterns = patterns
        self._locate = locate
        self._fallback: list[Registry[Any]] | None = None
        self.problems: list[Problem] = []
        self.checked = 0

    def visit(
        self, value: Any, path: tuple[str, ...], around: Registry[Any] | None, scope: str | None
    ) -> None:
        """Look at a value: ``around`` is the registry that built the node around it."""
        root = self._root_at(path)
        if is_node(value):
            scope = _scope_in(value) or scope
            if _get(value, "type") is not None or root is not None:
                around = self._check_node(value, path, root, around, scope) or around
            items: Iterable[tuple[str, Any]] = _items(value)
        elif isinstance(value, (list, tuple)):
            items = [(str(index), item) for index, item in enumerate(value)]
        else:
            if root is not None and isinstance(value, (str, bytes, int, float, type)):
                err = no_node(value)
                self._add(value, path, "no node", err.summary, err.details, True)
            return
        for key, item in items:
            self.visit(item, (*path, key), around, scope)

    def _root_at(self, path: tuple[str, ...]) -> Root | None:
        for pattern, root in self._patterns.items():
            if _matches(pattern, path):
                return root
            # A path to a list is about each of its items.
            if path and path[-1].isdigit() and _matches(pattern, path[:-1]):
                return root
        return None

    def _check_node(
        self,
        node: Any,
        path: tuple[str, ...],
        root: Root | None,
        around: Registry[Any] | None,
        scope: str | None,
    ) -> Registry[Any] | None:
        kind = _get(node, "type")
        if kind is None and root is not None:
            kind = root.default_type
            if kind is None:
                return self._nodes_below(node, path, root)
        self.checked += 1
        found, registry, err = self._component(kind, root, around, scope)
        if err is not None:
            what = "no import" if err.summary.startswith("cannot import") else "unknown type"
            self._add(node, path, what, err.summary, err.details, root is not None)
        if found is None:
            return registry
        self._check_arguments(node, path, root, kind, found)
        return registry

    def _nodes_below(self, node: Any, path: tuple[str, ...], root: Root) -> Registry[Any]:
        """A mapping without ``type`` where a node is expected: several nodes, or a mistake."""
        values = [value for _, value in _items(node)]
        if values and not any(_holds_node(value) for value in values):
            err = missing_type(node)
            self._add(node, path, "no type", err.summary, err.details, True)
        return root.registry

    def _component(
        self, kind: Any, root: Root | None, around: Registry[Any] | None, scope: str | None
    ) -> tuple[Any, Registry[Any] | None, Any]:
        """Find what a ``type`` names: component, registry that has it, or the error."""
        own = root.registry if root is not None else around
        if not isinstance(kind, str):
            try:
                return factory_of(kind), own, None
            except Exception as err:
                problem = err if isinstance(err, RegistryError) else _no_import(kind, err)
                return None, own, problem
        candidates = [root.registry] if root is not None else self._candidates(own)
        with DefaultScope.overwrite_default_scope(scope):
            for registry in candidates:  # first without importing anything
                found = registry.known_factory(kind)
                if found is not None:
                    return found, registry, None
            first: Any = None
            for registry in candidates:
                try:
                    return registry.factory(kind), registry, None
                except RegistryError as err:
                    first = first or err
        return None, own, first

    def _candidates(self, around: Registry[Any] | None) -> list[Registry[Any]]:
        if self._fallback is None:
            self._fallback = [r for r in live_registries() if r.parent is None]
        first = [] if around is None else [around]
        return [*first, *(r for r in self._fallback if r is not around)]

    def _check_arguments(
        self, node: Any, path: tuple[str, ...], root: Root | None, kind: Any, factory: Any
    ) -> None:
        # Not before there is something to compare: inspect takes longer to import than the rest.
        from drivetrain.registry._explain import misfit_details, misfit_summary
        from drivetrain.registry._signature import Misfit, component_of, misfit, name_of

        component = component_of(factory)
        consumed = root.consumed if root is not None else ()
        keys = [key for key, _ in _items(node) if key not in _SKIPPED and key not in consumed]
        found = misfit(component, keys, root.given if root is not None else ())
        shown = kind if isinstance(kind, str) else name_of(component)
        certain = root is not None
        if root is None or root.partial:
            # Whoever builds an inner node, or calls a partial, may add what is missing.
            found = Misfit(found.unknown, [], found.doubled)
        for what, part in (
            ("unknown argument", Misfit(found.unknown, [], [])),
            ("missing argument", Misfit([], found.missing, [])),
            ("duplicate argument", Misfit([], [], found.doubled)),
        ):
            if part:
                details = misfit_details(component, Misfit(part.unknown, found.missing, []), keys)
                self._add(node, path, what, misfit_summary(shown, part), details, certain)

    def _add(
        self,
        node: Any,
        path: tuple[str, ...],
        kind: str,
        summary: str,
        details: Any,
        certain: bool,
    ) -> None:
        shown = join_path(*path)
        origin = RegistryError().placed(shown, node, self._locate).origin
        if origin is not None:
            details = (*details, ("Config:", origin))
        self.problems.append(Problem(shown, kind, summary, tuple(details), certain))


def _matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(pattern) == len(path) and all(
        want in ("*", have) for want, have in zip(pattern, path, strict=True)
    )


def _items(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        return [(str(key), value) for key, value in dict.items(node)]  # lazy objects stay lazy
    return [(str(key), value) for key, value in node.items()]


def _get(node: Any, key: str) -> Any:
    if isinstance(node, dict):
        return dict.get(node, key)
    return node.get(key)


def _scope_in(node: Any) -> str | None:
    scope = _get(node, "_scope_")
    return scope if isinstance(scope, str) else None


def _holds_node(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_node(item) for item in value)
    return is_node(value) and _get(value, "type") is not None


def _no_import(kind: Any, err: Exception) -> RegistryError:
    path = getattr(kind, "dotted_path", kind)
    return RegistryError(f"cannot import {path!r}: {type(err).__name__}: {err}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
