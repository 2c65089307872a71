"""Counting what is registered, across a tree of registries and across all of them."""

from __future__ import annotations

import sys
from os import PathLike, fspath, makedirs
from os.path import join

from drivetrain.registry import _roots
from drivetrain.registry._registry import Registry

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any


def traverse_registry_tree(registry: Registry[Any], verbose: bool = True) -> list[dict[str, Any]]:
    """Collect what is registered until now in the whole tree that a registry is part of.

    Args:
        registry: Any registry of the tree.
        verbose: Print it, too.

    Returns:
        One row a registry: ``num_modules``, ``name``, ``scope``, and the names as ``modules``.
    """
    rows: list[dict[str, Any]] = [
        {
            "num_modules": len(place),
            "name": place.name,
            "scope": place.scope,
            "modules": list(place.module_dict),
        }
        for place in registry.root.tree()
    ]
    if verbose:
        for row in rows:
            sys.stdout.write(f"{row['name']} ({row['scope']}): {row['num_modules']}\n")
            sys.stdout.writelines(f"  {name}\n" for name in row["modules"])
    return rows


def count_registered_modules(
    save_path: str | PathLike[str] | None = None, verbose: bool = True
) -> dict[str, Any]:
    """Count what is registered until now in every root registry and below it.

    Args:
        save_path: Folder, made if needed; the result is written there as
            ``modules_statistic_results.json``.
        verbose: Print it, too.

    Returns:
        ``scan_date``, and ``registries``: for each root registry, by the name of its variable
        (``"HOOKS"``), the rows of ``traverse_registry_tree``.
    """
    # Neither is needed to build things, and both take time to import.
    import json
    from datetime import datetime

    result: dict[str, Any] = {
        "scan_date": datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
        "registries": {
            variable: traverse_registry_tree(registry, verbose)
            for variable, registry in vars(_roots).items()
            if isinstance(registry, Registry)
        },
    }
    if save_path is not None:
        makedirs(save_path, exist_ok=True)
        path = join(fspath(save_path), "modules_statistic_results.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
    return result
