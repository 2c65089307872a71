"""See what there is: the components of all registries, and everything about one of them.

The functions return plain data; ``render_list`` and ``render_component`` turn it into text.
``python -m drivetrain.registry ls`` and ``show`` print both.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import packages_distributions, version
from typing import Any

from drivetrain.registry._discovery import Provider, announced, shared_package
from drivetrain.registry._errors import UnknownComponentError
from drivetrain.registry._explain import one_line
from drivetrain.registry._live import live_registries
from drivetrain.registry._nearest import nearest, quoted
from drivetrain.registry._registry import Registry
from drivetrain.registry._signature import place_of, shown_signature

__all__ = [
    "describe_component",
    "failed_providers",
    "list_components",
    "list_registries",
    "render_component",
    "render_list",
    "render_registries",
]

_DOC_LINES = 12


def list_registries() -> list[dict[str, Any]]:
    """Every registry, with the modules that are announced for it; imports none of them.

    Returns:
        One row a registry: ``name``, ``scope``, ``components`` (how many are registered by now) and
        ``providers`` (labels of the distributions that announce some).
    """
    return [
        {
            "name": registry.name,
            "scope": registry.scope,
            "components": len(registry),
            "providers": list(dict.fromkeys(p.label for p in registry.providers())),
        }
        for registry in live_registries()
    ]


def list_components(registry: str | None = None) -> list[dict[str, Any]]:
    """Every component of one registry, or of all; imports the modules that are announced.

    Args:
        registry: Name of a registry (``"hook"``), of the variable (``"HOOKS"``), or ``None``.

    Returns:
        One row a component, sorted: ``registry``, ``scope``, ``name``, ``component`` (where it is
        defined), ``summary`` (first line of its docstring), ``distribution`` and ``version``.

    Raises:
        UnknownComponentError: If there is no such registry.
    """
    chosen = _registries(registry)
    for place in chosen:
        _import_all(place)
    # Imports may have made child registries.
    rows = [
        _row(place, name, component)
        for place in _registries(registry)
        for name, component in place.module_dict.items()
    ]
    return sorted(rows, key=lambda row: (row["registry"], row["scope"], row["name"]))


def describe_component(name: str, registry: str | None = None) -> dict[str, Any]:
    """Everything there is to know about one component.

    Args:
        name: ``Name`` or ``scope.Name``.
        registry: Name of the registry, where several have that name.

    Returns:
        The row of ``list_components``, and ``signature``, ``arguments`` (rows of ``name``,
        ``required``, ``default``, ``annotation``), ``doc`` (first lines) and ``source``
        (``file:line``).

    Raises:
        UnknownComponentError: If no registry has it, or if several do.
    """
    scope, short = Registry.split_scope_key(name)
    rows = list_components(registry)
    found = [row for row in rows if row["name"] in (name, short) and scope in (None, row["scope"])]
    if not found:
        raise _not_found(name, registry, rows)
    if len({row["component"] for row in found}) > 1:
        places = quoted(dict.fromkeys(f"{row['registry']} ({row['scope']})" for row in found))
        raise UnknownComponentError(
            f"{name!r} is in several registries: {places}.",
            (("To do:", "name one of them: show NAME --registry REGISTRY, or show scope.NAME"),),
        )
    row = found[0]
    component = _component_in(row)
    return {
        **row,
        "signature": shown_signature(component),
        "arguments": _arguments(component),
        "doc": _first_lines(component),
        "source": place_of(component),
    }


def failed_providers() -> list[dict[str, Any]]:
    """The announced modules whose import failed by now: ``module``, ``provider``, ``error``."""
    return [
        {"module": p.module, "provider": p.label, "error": one_line(p.error)}
        for p in announced()
        if p.error is not None
    ]


def render_registries(rows: Iterable[dict[str, Any]]) -> str:
    """Text for ``list_registries``: one line a registry."""
    table = [
        (row["name"], row["scope"], str(row["components"]), ", ".join(row["providers"]))
        for row in rows
    ]
    return _table(("registry", "scope", "names", "announced by"), table)


def render_list(rows: Iterable[dict[str, Any]]) -> str:
    """Text for ``list_components``: one line a component."""
    table = [(row["registry"], _full_name(row), row["summary"] or row["component"]) for row in rows]
    return _table(("registry", "name", "what it is"), table)


def render_component(description: dict[str, Any]) -> str:
    """Text for ``describe_component``."""
    provider = description["distribution"]
    if provider is not None:
        provider = f"{provider} {description['version']}"
    fields = [
        ("Name", f"{_full_name(description)} (registry {description['registry']!r})"),
        ("Signature", description["signature"] or "not known: written in C"),
        ("Defined as", description["component"]),
        ("Source", description["source"] or "not there"),
        ("Provided by", provider or "not an installed distribution"),
    ]
    lines = [f"{label:13}{text}" for label, text in fields]
    if description["doc"]:
        lines += ["", *(f"    {line}".rstrip() for line in description["doc"].splitlines())]
    return "\n".join(lines)


def _registries(name: str | None) -> list[Registry[Any]]:
    everything = live_registries()
    if name is None:
        return everything
    wanted = {name, name.lower(), name.lower().removesuffix("s")}
    # VISBACKENDS is `vis_backend`: compare without underscores too.
    wanted |= {text.replace("_", "") for text in wanted}
    found = [r for r in everything if {r.root.name, r.root.name.replace("_", "")} & wanted]
    if not found:
        names = sorted({registry.root.name for registry in everything})
        close = nearest(name, names)
        hint = ("Did you mean:", quoted(close)) if close else ("There are:", ", ".join(names))
        raise UnknownComponentError(f"there is no registry {name!r}.", (hint,))
    return found


def _import_all(registry: Registry[Any]) -> None:
    """Import whatever is announced for a tree, for every scope."""
    for provider in registry.providers():
        provider.load()
    if registry.parent is None:
        for provider in announced():
            if provider.registry == registry.name:
                provider.load()


def _row(registry: Registry[Any], name: str, component: Any) -> dict[str, Any]:
    distribution, version = _distribution_of(registry, component)
    module = getattr(component, "__module__", None)
    qualname = getattr(component, "__qualname__", None) or repr(component)
    return {
        "registry": registry.root.name,
        "scope": registry.scope,
        "name": name,
        "component": f"{module}.{qualname}" if module else qualname,
        "summary": _first_lines(component, 1),
        "distribution": distribution,
        "version": version,
    }


def _distribution_of(registry: Registry[Any], component: Any) -> tuple[str | None, str | None]:
    """Name and version of the distribution that a component comes from."""
    module = getattr(component, "__module__", None) or ""
    best: tuple[int, Provider] | None = None
    for provider in announced():
        shared = shared_package(module, provider.module)
        if shared:
            # Whoever announces for this registry is likelier than another one of its package.
            closeness = 2 * len(shared) + (provider.registry == registry.root.name)
            if best is None or closeness > best[0]:
                best = (closeness, provider)
    if best is not None:
        return best[1].distribution, best[1].version
    owners = _owners_of_packages().get(module.partition(".")[0], [])
    return (owners[0], version(owners[0])) if len(set(owners)) == 1 else (None, None)


@cache
def _owners_of_packages() -> Mapping[str, list[str]]:
    return packages_distributions()


def _component_in(row: dict[str, Any]) -> Any:
    for registry in live_registries():
        if (registry.root.name, registry.scope) == (row["registry"], row["scope"]):
            component = registry.module_dict.get(row["name"])
            if component is not None:
                return component
    raise UnknownComponentError(f"{row['name']!r} is no longer registered.")


def _not_found(
    name: str, registry: str | None, rows: list[dict[str, Any]]
) -> UnknownComponentError:
    where = f"registry {registry!r}" if registry else "any registry"
    close = nearest(name, [_full_name(row) for row in rows] + [row["name"] for row in rows])
    details = [("Did you mean:", quoted(close))] if close else []
    for failed in failed_providers():
        details.append(("Failed:", f"{failed['provider']} ({failed['module']}): {failed['error']}"))
    return UnknownComponentError(f"no {name!r} in {where}.", tuple(details))


def _full_name(row: dict[str, Any]) -> str:
    return row["name"] if row["scope"] == "drivetrain" else f"{row['scope']}.{row['name']}"


def _first_lines(component: Any, count: int = _DOC_LINES) -> str:
    # Its own docstring only: dict's or object's says nothing about a component.
    doc = inspect.cleandoc(getattr(component, "__doc__", None) or "")
    lines = doc.splitlines()
    shown = "\n".join(lines[:count]).rstrip()
    return f"{shown}\n..." if count > 1 and len(lines) > count else shown


def _arguments(component: Any) -> list[dict[str, Any]]:
    try:
        parameters = inspect.signature(component).parameters.values()
    except (TypeError, ValueError):
        return []
    empty = inspect.Parameter.empty
    return [
        {
            "name": str(p).partition(":")[0].partition("=")[0].strip(),
            "required": p.default is empty
            and p.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD),
            "default": None if p.default is empty else repr(p.default),
            "annotation": None
            if p.annotation is empty
            else p.annotation
            if isinstance(p.annotation, str)
            else inspect.formatannotation(p.annotation),
        }
        for p in parameters
    ]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    ]
    return "\n".join(lines)
