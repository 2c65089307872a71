"""The config that a checkpoint carries, read without trusting whoever wrote it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from drivetrain.config import Config
from drivetrain.runner._errors import InferencerError

_OWN_SCOPES = ("drivetrain", "mmengine")


def carried_config(checkpoint: Mapping[str, Any], source: str, scope: str | None) -> Config:
    """The config in ``meta.cfg`` of a checkpoint.

    It is read as data: nothing in it runs, no module that it names is imported.

    Args:
        checkpoint: The checkpoint.
        source: Where it is from, for errors.
        scope: The scope that the caller asked for; types may be of it.

    Raises:
        InferencerError: If there is none, or it names a type by an import path.
    """
    text = (checkpoint.get("meta") or {}).get("cfg")
    if text is None:
        raise InferencerError(f"{source} carries no config; give a model")
    cfg = Config(dict(text)) if isinstance(text, Mapping) else _read_as_data(text)
    for kind in _types(cfg.get("model")):
        prefix, dot, name = str(kind).partition(".")
        if dot and ("." in name or prefix not in (*_OWN_SCOPES, scope)):
            raise InferencerError(
                f"the config that {source} carries names {kind!r}, which would be imported.\n"
                "  If you trust it:  give the config as model, or the package as scope."
            )
    return cfg


def _read_as_data(text: str) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.py")
        path.write_text(text, encoding="utf-8")
        return Config.fromfile(path, safe=True, import_custom_modules=False)


def _types(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        if "type" in node:
            yield node["type"]
        for value in node.values():
            yield from _types(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _types(value)
