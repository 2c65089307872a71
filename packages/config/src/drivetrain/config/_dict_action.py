"""Overrides as arguments of ``argparse``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from drivetrain.config._errors import ConfigError
from drivetrain.config._overrides import parse_override


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
        for text in [values] if isinstance(values, str) else values or ():
            try:
                key, value = parse_override(text)
            except ConfigError as err:
                raise argparse.ArgumentError(self, str(err)) from err
            collected[key] = value
        setattr(namespace, self.dest, collected)
