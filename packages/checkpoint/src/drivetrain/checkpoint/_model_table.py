"""Names of published weights, and where they lie."""

from __future__ import annotations

import difflib
import importlib
import json
from importlib.resources import files
from typing import Any

from drivetrain.checkpoint._errors import MissingLibraryError, UnknownSchemeError


def get_external_models() -> dict[str, str]:
    """Names that ``open-mmlab://`` knows, with their URLs."""
    return _table()["open-mmlab"]


def get_mmcls_models() -> dict[str, str]:
    """Names that ``mmcls://`` knows, with their URLs."""
    return _table()["mmcls"]


def get_deprecated_model_names() -> dict[str, str]:
    """Older names of ``open-mmlab://``, with the names that replaced them."""
    return _table()["renamed"]


def get_torchvision_models() -> dict[str, str]:
    """Names that ``torchvision://`` knows, with their URLs.

    ``resnet50`` are the weights that torchvision recommends, ``resnet50.imagenet1k_v1`` certain
    ones.

    Raises:
        MissingLibraryError: If torchvision is not installed.
    """
    try:
        # By name and here: the library is optional, and as large as torch.
        models: Any = importlib.import_module("torchvision.models")
    except ImportError as err:
        raise MissingLibraryError(
            "torchvision:// and modelzoo:// need torchvision, which is not installed"
        ) from err
    table = {}
    for name in models.list_models():
        weights = models.get_model_weights(name)
        for one in weights:
            table[f"{name}.{one.name.lower()}"] = one.url
        if len(weights):
            table[name] = weights.DEFAULT.url
    return table


def url_of(filename: str, table: dict[str, str]) -> str:
    """Return the URL of ``scheme://name``.

    Raises:
        UnknownSchemeError: If the table has no such name.
    """
    name = filename.split("://", 1)[1]
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=3)
    hint = f"\n  Did you mean:  {', '.join(near)}" if near else ""
    raise UnknownSchemeError(f"{filename}: no weights of this name among {len(table)}{hint}")


def _table() -> dict[str, dict[str, str]]:
    source = files("drivetrain.checkpoint").joinpath("model_urls.json")
    return json.loads(source.read_text(encoding="utf-8"))
