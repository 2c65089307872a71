"""The text for a name that no registry has.

Imported when the first name is not found.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from drivetrain.registry._building import current_place
from drivetrain.registry._discovery import Provider, announced, scope_provider
from drivetrain.registry._errors import UnknownComponentError
from drivetrain.registry._explain import one_line, shown_traceback
from drivetrain.registry._live import live_registries
from drivetrain.registry._nearest import nearest, quoted
from drivetrain.registry._scope import ROOT_SCOPE, canonical_scope
from drivetrain.registry._search import known_registry_of

_MAX_FILES = 300
# Who offers components for the root registries, for an advice what to install. Names only: this
# package imports none of them.
_OFFERED_BY = {
    "runner": "drivetrain-runner",
    "loop": "drivetrain-runner",
    "hook": "drivetrain-runner",
    "log_processor": "drivetrain-runner",
    "inferencer": "drivetrain-runner",
    "strategy": "drivetrain-dist",
    "model_wrapper": "drivetrain-dist",
    "optimizer": "drivetrain-optim",
    "optim_wrapper": "drivetrain-optim",
    "optim_wrapper_constructor": "drivetrain-optim",
    "param_scheduler": "drivetrain-optim",
    "dataset": "drivetrain-dataset",
    "data_sampler": "drivetrain-dataset",
    "transform": "drivetrain-dataset",
    "model": "drivetrain-model",
    "weight_initializer": "drivetrain-model",
    "metric": "drivetrain-evaluator",
    "evaluator": "drivetrain-evaluator",
    "visualizer": "drivetrain-visualization",
    "vis_backend": "drivetrain-visualization",
}


def explain_unknown(
    registry: Any, key: str, order: list[Any], scope: str | None, failure: Exception | None
) -> UnknownComponentError:
    """Say which name was not found where, which were meant, and what to do.

    Args:
        registry: The registry that was asked.
        key: The name.
        order: The registries where the search began: that of the scope in force comes first.
        scope: The scope in force.
        failure: What an import raised that a dotted path asked for.
    """
    searched = _searched(registry, key, order)
    failed = _failed_providers(registry, key, searched)
    details: list[tuple[str, str]] = []
    if failure is None:
        summary = _summary(registry, key)
        details += _suggestions(registry, key, searched)
        details += [("Searched:", _shown_search(searched, scope, order))]
        details += _elsewhere(key, searched)
    else:
        summary = f"cannot import {key!r}: {one_line(failure)}"
        details += [("Traceback:", shown_traceback(failure))]
    details += _shown_failures(failed, details)
    details += _remedy(registry, key, searched, failure or (failed and failed[0].error))
    err = UnknownComponentError(summary, tuple(details))
    path, locate = current_place()
    err.placed(path, None, locate)
    err.__cause__ = failure or (failed[0].error if failed else None)
    return err


def _shown_failures(failed: list[Provider], above: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Providers that could not be imported; a traceback that stands above is not repeated."""
    tracebacks = {text for _, text in above}
    details = []
    for provider in failed:
        assert provider.error is not None
        reason = f"{provider.label} ({provider.announced_by}): {one_line(provider.error)}"
        details.append(("Failed:", reason))
        text = shown_traceback(provider.error)
        if text not in tracebacks:
            details.append(("", text))
        tracebacks.add(text)
    return details


def _summary(registry: Any, key: str) -> str:
    summary = f"no {key!r} in registry {registry.name!r}"
    scope, _ = registry.split_scope_key(key)
    if scope is None:
        return f"{summary}."
    if known_registry_of(registry, scope) is not None:
        return f"{summary}."
    module = sys.modules.get(key.rpartition(".")[0])
    if module is not None:
        return f"{summary}, and module {module.__name__!r} has no such name."
    return f"{summary}: there is no scope or module {scope!r}."


def _searched(registry: Any, key: str, order: list[Any]) -> list[Any]:
    scope, _ = registry.split_scope_key(key)
    if scope is not None:
        found = known_registry_of(registry, scope)
        if found is not None:
            return [found]
    found = []
    for start in order:
        while start is not None:
            if start not in found:
                found.append(start)
            start = start.parent
    return found


def _failed_providers(registry: Any, key: str, searched: list[Any]) -> list[Provider]:
    scope, _ = registry.split_scope_key(key)
    providers = [provider for place in searched for provider in place.providers()]
    if scope is not None:
        names = {registry.name, registry.root.name}
        wanted = canonical_scope(scope)
        providers += [p for p in announced() if p.scope == wanted and p.registry in names]
        providers.append(scope_provider(scope, registry.name))
    return [p for p in dict.fromkeys(providers) if p.error is not None]


def _suggestions(registry: Any, key: str, searched: list[Any]) -> list[tuple[str, str]]:
    names = [name for place in searched for name in place.module_dict]
    for place in registry.root.tree():
        if place not in searched:
            names += [f"{place.scope}.{name}" for name in place.module_dict]
    scope, _ = registry.split_scope_key(key)
    if scope is not None and len(searched) == 1 and known_registry_of(registry, scope):
        names = [f"{scope}.{n}" for n in searched[0].module_dict] + names
    module = sys.modules.get(key.rpartition(".")[0])
    if module is not None and known_registry_of(registry, scope) is None:
        names = [f"{module.__name__}.{n}" for n in dir(module) if not n.startswith("_")]
    close = nearest(key, names)
    return [("Did you mean:", quoted(close))] if close else []


def _shown_search(searched: list[Any], scope: str | None, order: list[Any]) -> str:
    lines = []
    for place in searched:
        count = f"{len(place)} name{'' if len(place) == 1 else 's'}"
        sources = [p.label for p in place.providers() if p.error is None]
        origin = f", from {', '.join(dict.fromkeys(sources))}" if sources else ""
        lines.append(f"{place.scope} ({count}{origin})")
    if scope is not None and all(
        canonical_scope(place.scope) != canonical_scope(scope) for place in order
    ):
        lines.append(f"scope {scope!r} is in force, and has no registry {order[-1].name!r}")
    return "\n".join(lines)


def _elsewhere(key: str, searched: list[Any]) -> list[tuple[str, str]]:
    tail = key.rpartition(".")[2]
    found = [
        f"registry {place.name!r} as '{place.scope}.{tail}'"
        for place in live_registries()
        if place not in searched and tail in place.module_dict
    ]
    if found:
        return [("It exists in:", ", ".join(list(dict.fromkeys(found))[:3]))]
    for provider in announced():
        if not provider.imported and _defines(provider, tail):
            registries = [p.registry for p in announced() if p.module == provider.module]
            shown = f"{provider.label}, which announces {', '.join(registries)}"
            return [("Perhaps in:", shown)]
    return []


def _defines(provider: Provider, name: str) -> bool:
    """Whether the source of a module that is not imported yet defines a name.

    An error is no reason to import what nobody asked for, so its files are only read.
    """
    parent = provider.module.rpartition(".")[0]
    if not name.isidentifier() or (parent and parent not in sys.modules):
        return False  # finding the module would import its parent
    try:
        spec = find_spec(provider.module)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None:
        return False
    files = [Path(spec.origin)]
    for folder in spec.submodule_search_locations or ():
        files += sorted(Path(folder).rglob("*.py"))[:_MAX_FILES]
    pattern = re.compile(rf"^(?:class|def) {name}\b", re.MULTILINE)
    return any(pattern.search(_source(file)) for file in files)


def _source(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _remedy(registry: Any, key: str, searched: list[Any], failure: Any) -> list[tuple[str, str]]:
    if failure:
        return [("To do:", "repair that import; then the name can be looked up")]
    package = _OFFERED_BY.get(registry.root.name)
    installed = {p.distribution for p in announced()}
    is_ours = any(canonical_scope(place.scope) == ROOT_SCOPE for place in searched)
    advice = []
    scope, _ = registry.split_scope_key(key)
    if (
        scope is not None
        and known_registry_of(registry, scope) is None
        and scope not in sys.modules
    ):
        advice.append(("Not installed?", f"Nothing that is installed announces scope {scope!r}."))
    if package is not None and package not in installed and is_ours:
        advice.append(("Not installed:", f"{package}, which offers some: pip install {package}"))
    advice.append(("Your own?", "Register it, and list its module in `custom_imports`."))
    return advice
