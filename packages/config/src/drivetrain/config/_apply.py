"""Overrides of a command line, applied to a config."""

from __future__ import annotations

from collections.abc import Iterable

from drivetrain.config._arguments import require_list_of_overrides
from drivetrain.config._config import Config
from drivetrain.config._overrides import split_additions


def apply_overrides(cfg: Config, overrides: Iterable[str]) -> None:
    """Apply ``key=value`` arguments of a command line.

    A path that the config does not have is an error, unless its argument starts with ``+``.

    Args:
        cfg: The config; it is changed only if every override is good.
        overrides: The arguments, such as ``optim_wrapper.optimizer.lr=0.01`` or ``+tag=first``.

    Raises:
        UnknownKeyError: If a path does not exist; the nearest ones are named.
        OverrideSyntaxError: If an argument is not of the form ``key=value``.
        MergeError: If a dict meets a value that is no dict.

    Example:
        >>> cfg = Config(dict(optimizer=dict(type="SGD", lr=0.1)))
        >>> apply_overrides(cfg, ["optimizer.lr=0.01", "+optimizer.nesterov=true"])
        >>> cfg.optimizer
        {'type': 'SGD', 'lr': 0.01, 'nesterov': True}
    """
    require_list_of_overrides(overrides)
    trial = cfg.copy()
    object.__setattr__(trial, "_changes", list(cfg._changes))
    for key, value, is_new in split_additions(overrides):
        trial._merge({key: value}, "command line", allow_list_keys=True, strict=not is_new)
    object.__setattr__(cfg, "_cfg_dict", trial._cfg_dict)
    object.__setattr__(cfg, "_changes", trial._changes)
