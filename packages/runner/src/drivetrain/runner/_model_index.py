"""The models that an installed package offers, as its model index lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from drivetrain.fileio import load
from drivetrain.registry import get_installed_path
from drivetrain.runner._errors import ModelIndexError

_INDEXES = (".mim/model-index.yml", "model-index.yml", "../model-index.yml")


@dataclass(frozen=True)
class IndexedModel:
    """One entry of a model index.

    Attributes:
        name: Its name.
        config: Path of its config, as the index gives it.
        weights: URL or path of its weights, or None.
        aliases: Further names.
    """

    name: str
    config: str
    weights: str | None
    aliases: tuple[str, ...]


def models_of(package: str) -> list[IndexedModel]:
    """The models of an installed package.

    Args:
        package: Name of the package. Its ``.mim/model-index.yml`` (for one that is installed in
            place, also the file beside the package) imports files that list ``Models``.

    Raises:
        ModelIndexError: If the package is not installed, or has no such file.
    """
    try:
        folder = Path(get_installed_path(package))
    except ImportError as err:
        raise ModelIndexError(f"package {package!r} is not installed") from err
    index = next((folder / name for name in _INDEXES if (folder / name).is_file()), None)
    if index is None:
        raise ModelIndexError(
            f"package {package!r} lists no models: there is no {_INDEXES[0]} in {folder}"
        )
    content = load(str(index))
    entries = list(_entries(content))
    for name in content.get("Import") or ():
        entries += _entries(load(str(index.parent / name)))
    return [_model(entry) for entry in entries if "Config" in entry]


def _entries(content: Any) -> list[Mapping[str, Any]]:
    models = content.get("Models", ()) if isinstance(content, Mapping) else content
    return list(models or ())


def _model(entry: Mapping[str, Any]) -> IndexedModel:
    alias = entry.get("Alias") or ()
    aliases = (alias,) if isinstance(alias, str) else tuple(alias)
    return IndexedModel(entry["Name"], entry["Config"], entry.get("Weights"), aliases)


def model_by_config(package: str, path: str) -> IndexedModel:
    """The model whose config is ``path``, relative to the package's ``configs``.

    Raises:
        ModelIndexError: If there is none, or it has no weights.
    """
    found = [model for model in models_of(package) if model.config.endswith(f"/{path}")]
    for model in found:
        if model.weights is not None:
            return model
    reason = "has no weights" if found else "is not in the model index"
    raise ModelIndexError(f"{package}::{path} {reason} of package {package!r}")


def model_by_name(package: str, name: str) -> IndexedModel:
    """The model of that name or alias.

    Raises:
        ModelIndexError: If there is none; offers the nearest.
    """
    models = models_of(package)
    for model in models:
        if name == model.name or name in model.aliases:
            return model
    names = [n for model in models for n in (model.name, *model.aliases)]
    near = get_close_matches(name, names, n=3)
    offer = f"\n  Did you mean:  {', '.join(map(repr, near))}" if near else ""
    raise ModelIndexError(f"package {package!r} has no model {name!r}{offer}")
