"""Overrides as arguments of ``argparse``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from drivetrain.config._configdict import ConfigDict
from drivetrain.config._errors import ConfigError
from drivetrain.config._overrides import parse_arguments


class DictAction(argparse.Action):
    """Collects ``key=value`` arguments in one dict; several uses add up.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> _ = parser.add_argument("--cfg-options", nargs="+", action=DictAction)
        >>> parser.parse_args(["--cfg-options", "optimizer.lr=0.1", "gpus=0,1"]).cfg_options
        {'optimizer.lr': 0.1, 'gpus': [0, 1]}
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add ``values`` to what earlier uses collected."""
        collected = dict(getattr(namespace, self.dest, None) or {})
        texts = [values] if isinstance(values, str) else list(values or ())
        try:
            collected.update(parse_arguments(texts))
        except ConfigError as err:
            raise argparse.ArgumentError(self, str(err)) from err
        setattr(namespace, self.dest, collected)


def config_parser(
    description: str | None = None, *, add_help: bool = True
) -> argparse.ArgumentParser:
    """A parser of programs whose first argument is a config file."""
    parser = argparse.ArgumentParser(description=description, add_help=add_help)
    parser.add_argument("config", help="config file path")
    return parser


def add_options(parser: argparse.ArgumentParser, node: ConfigDict, prefix: str = "") -> None:
    """One option for each leaf: ``--a.b`` of the type of its present value."""
    for key, value in node.items():
        option = f"--{prefix}{key}"
        if isinstance(value, ConfigDict):
            add_options(parser, value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            parser.add_argument(option, action="store_true", default=value)
        elif isinstance(value, (int, float, str)):
            parser.add_argument(option, type=type(value), default=value)
        elif isinstance(value, (list, tuple)) and value:
            parser.add_argument(option, type=type(value[0]), nargs="+", default=value)
