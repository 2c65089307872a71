"""Arguments of another type than a function takes: errors that name the right call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from drivetrain.config._errors import ArgumentTypeError


def path_text(path: Any, what: str) -> str:
    """A path as text; raises ``ArgumentTypeError`` if it is neither text nor a path."""
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str):
        raise ArgumentTypeError(f"{what} is a str or a pathlib.Path, not {_shown(path)}")
    return name


def require_text(text: Any) -> None:
    """Check what ``Config.fromstring`` is to read."""
    if not isinstance(text, str):
        raise ArgumentTypeError(f"cfg_str must be a str, got {_shown(text)}")


def require_content(content: Any) -> None:
    """Check what a ``Config`` is to hold."""
    if not isinstance(content, Mapping):
        raise ArgumentTypeError(
            f"cfg_dict must be a dict, got {_shown(content)}; "
            "Config.fromfile loads a file, Config.fromstring a text"
        )


def require_options(options: Any) -> None:
    """Check what is to be merged into a ``Config``."""
    if not isinstance(options, Mapping):
        raise ArgumentTypeError(
            f"options must be a dict such as {{'model.depth': 18}}, got {_shown(options)}; "
            "apply_overrides takes a list such as ['model.depth=18']"
        )


def require_dotted_path(path: Any) -> None:
    """Check that the path of a value is one text."""
    if not isinstance(path, str):
        raise ArgumentTypeError(f"a path is a str such as 'model.depth', got {_shown(path)}")


def require_list_of_overrides(overrides: Any) -> None:
    """Check that overrides are not one text, whose letters would be taken for overrides."""
    if isinstance(overrides, str):
        raise ArgumentTypeError(
            f"overrides must be a list of arguments, not one text: write [{overrides[:80]!r}]"
        )


def _shown(value: Any) -> str:
    return f"{type(value).__name__}: {repr(value)[:80]}"
