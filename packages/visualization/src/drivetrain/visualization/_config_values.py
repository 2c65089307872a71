"""What trackers are told of a config: its values by dotted names, and its files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from drivetrain.visualization._backend import ConfigLike


def config_dict(config: ConfigLike) -> dict[str, Any]:
    """Return a config as plain data; what is none comes as its text.

    Example:
        >>> config_dict({"model": {"type": dict, "depths": (2, 3)}})
        {'model': {'type': "<class 'dict'>", 'depths': [2, 3]}}
    """
    values: Any = config.to_dict() if hasattr(config, "to_dict") else config
    return {str(key): _plain(value) for key, value in dict(values).items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested values by their dotted names.

    Example:
        >>> flat({"optimizer": {"type": "SGD", "lr": 0.1}, "hooks": [{"type": "EMA"}]})
        {'optimizer.type': 'SGD', 'optimizer.lr': 0.1, 'hooks.0.type': 'EMA'}
    """
    items: Iterable[tuple[Any, Any]]
    if isinstance(values, Mapping) and values:
        items = values.items()
    elif isinstance(values, (list, tuple)) and any(isinstance(v, (Mapping, list)) for v in values):
        items = enumerate(values)
    else:
        return {prefix: values}
    result: dict[str, Any] = {}
    for key, value in items:
        result.update(flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return result


def files_to_keep(folder: str | os.PathLike[str] | None, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files below a folder whose names end in one of ``suffixes``, in order."""
    if folder is None or not suffixes:
        return []
    found = Path(folder).rglob("*")
    return sorted(path for path in found if path.name.endswith(suffixes) and path.is_file())
