"""Config files in Python, YAML and JSON: inheritance, overrides, the origin of each value."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from drivetrain.config.__about__ import __version__
from drivetrain.config._apply import apply_overrides
from drivetrain.config._config import Config
from drivetrain.config._configdict import ConfigDict
from drivetrain.config._errors import (
    ArgumentTypeError,
    CircularBaseError,
    ConfigError,
    ConfigExecutionError,
    ConfigFileNotFoundError,
    ConfigImportError,
    ConfigParseError,
    ConfigReadError,
    ConfigWriteError,
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
from drivetrain.config._origin import Origin
from drivetrain.config._overrides import parse_override
from drivetrain.config._pure_python import read_base

if TYPE_CHECKING:
    from drivetrain.config._argparse import DictAction
    from drivetrain.config._compare import Difference
    from drivetrain.config._inspect import Problem, check, diff, explain, show

__all__ = [
    "ArgumentTypeError",
    "CircularBaseError",
    "Config",
    "ConfigDict",
    "ConfigError",
    "ConfigExecutionError",
    "ConfigFileNotFoundError",
    "ConfigImportError",
    "ConfigParseError",
    "ConfigReadError",
    "ConfigWriteError",
    "DictAction",
    "Difference",
    "DumpError",
    "DuplicateKeyError",
    "EnvironmentVariableError",
    "LazyImportError",
    "LazyObject",
    "ListIndexError",
    "MergeError",
    "MissingKeyError",
    "MixedStyleError",
    "Origin",
    "OverrideSyntaxError",
    "Problem",
    "ReservedKeyError",
    "TemplateError",
    "UnknownBaseValueError",
    "UnknownKeyError",
    "UnsafeConfigError",
    "UnsupportedFormatError",
    "__version__",
    "apply_overrides",
    "check",
    "diff",
    "explain",
    "parse_override",
    "read_base",
    "show",
]


# Not needed to load a config, and slow to import (argparse, json): fetched at the first use.
_ON_DEMAND = {
    "DictAction": "drivetrain.config._argparse",
    "Difference": "drivetrain.config._compare",
    "Problem": "drivetrain.config._inspect",
    "check": "drivetrain.config._inspect",
    "diff": "drivetrain.config._inspect",
    "explain": "drivetrain.config._inspect",
    "show": "drivetrain.config._inspect",
}


def __getattr__(name: str) -> Any:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_ON_DEMAND[name]), name)
    globals()[name] = value
    return value
