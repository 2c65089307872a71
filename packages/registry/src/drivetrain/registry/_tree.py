"""Counting what is registered, across a tree of registries and across all of them."""

from __future__ import annotations

import sys
from os import PathLike, fspath
from typing import Any

from drivetrain.registry._registry import Registry, live_registries
from drivetrain.registry._scope import ROOT_SCOPE, canonical_scope


def traverse_registry_tree(registry: Registry[Any], verbose: bool = True) -> list[dict[str, Any]]:
    """Collect what is registered in the whole tree that a registry is part of.

    Args:
        registry: Any registry of the tree.
        verbose: Print it, too.

    Returns:
        For each registry with names in it: ``num_modules``, ``scope`` as ``"name/scope"``, and the
        ``modules`` as a list of names.
    """
    rows: list[dict[str, Any]] = []
    for place in registry.root.tree():
        if place.module_dict:
            names = list(place.module_dict)
            rows.append(
                {
                    "num_modules": len(names),
                    "scope": f"{place.name}/{place.scope}",
                    "modules": names,
                }
            )
    if verbose:
        for row in rows:
            sys.stdout.write(f"{row['scope']}: {row['num_modules']}\n")
            sys.stdout.writelines(f"  {name}\n" for name in row["modules"])
    return rows


def count_registered_modules(
    save_path: str | PathLike[str] | None = None, verbose: bool = True
) -> dict[str, Any]:
    """Count what is registered until now in every root registry and below it.

    Args:
        save_path: Folder; the result is written there as ``modules_statistic_results.json``.
        verbose: Print it, too.

    Returns:
        ``scan_data`` (when it was done), and for each root registry its rows as from
        ``traverse_registry_tree``, with ``num_modules`` of the whole tree first.
    """
    # Imported here: neither is needed to build things, and both take time to import.
    import json
    from datetime import datetime

    result: dict[str, Any] = {"scan_date": datetime.now().strftime("%Y-%m-%d %H:%M:%S")}
    total = 0
    for root in live_registries():
        if root.parent is not None or canonical_scope(root.scope) != ROOT_SCOPE:
            continue
        rows = traverse_registry_tree(root, verbose)
        count = sum(row["num_modules"] for row in rows)
        total += count
        result[root.name] = [{"num_modules": count}, *rows]
    result["total"] = total
    if verbose:
        sys.stdout.write(f"{total} components in all\n")
    if save_path is not None:
        path = f"{fspath(save_path).rstrip('/')}/modules_statistic_results.json"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
    return result
