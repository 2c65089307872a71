"""Config files in Python, YAML and JSON: inheritance, overrides, the origin of each value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.config.__about__ import __version__
from drivetrain.config._config import Config, apply_overrides
from drivetrain.config._configdict import ConfigDict
from drivetrain.config._errors import (
    CircularBaseError,
    ConfigError,
    ConfigExecutionError,
    ConfigFileNotFoundError,
    ConfigImportError,
    ConfigParseError,
    DumpError,
    DuplicateKeyError,
    EnvironmentVariableError,
    LazyImportError,
    ListIndexError,
    MergeError,
    MissingKeyError,
    MixedStyleError,
    OverrideSyntaxError,
    ReservedKeyError,
    TemplateError,
    UnknownBaseValueError,
    UnknownKeyError,
    UnsafeConfigError,
    UnsupportedFormatError,
)
from drivetrain.config._lazy import LazyObject
from drivetrain.config._overrides import parse_override
from drivetrain.config._pure_python import read_base

if TYPE_CHECKING:
    from drivetrain.config._dict_action import DictAction

__all__ = [
    "CircularBaseError",
    "Config",
    "ConfigDict",
    "ConfigError",
    "ConfigExecutionError",
    "ConfigFileNotFoundError",
    "ConfigImportError",
    "ConfigParseError",
    "DictAction",
    "DumpError",
    "DuplicateKeyError",
    "EnvironmentVariableError",
    "LazyImportError",
    "LazyObject",
    "ListIndexError",
    "MergeError",
    "MissingKeyError",
    "MixedStyleError",
    "OverrideSyntaxError",
    "ReservedKeyError",
    "TemplateError",
    "UnknownBaseValueError",
    "UnknownKeyError",
    "UnsafeConfigError",
    "UnsupportedFormatError",
    "__version__",
    "apply_overrides",
    "parse_override",
    "read_base",
]


def __getattr__(name: str) -> Any:
    # argparse is a third of the time that importing this package would take.
    if name == "DictAction":
        from drivetrain.config._dict_action import DictAction

        globals()["DictAction"] = DictAction
        return DictAction
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
