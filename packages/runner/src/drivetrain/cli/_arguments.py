"""Arguments that several commands share: config, overrides, and how the two are loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from drivetrain.config import Config, apply_overrides

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def complete_override(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Keys of the config that begin with ``incomplete``, for the shell."""
    path = ctx.params.get("config")
    if not path or "=" in incomplete:
        return []
    try:
        cfg = Config.fromfile(path, import_custom_modules=False)
    except Exception:  # a shell that completes must not print errors
        return []
    plus = "+" if incomplete.startswith("+") else ""
    keys = (f"{plus}{key}=" for key in dotted_keys(cfg.to_dict()))
    return [key for key in keys if key.startswith(incomplete)]


def dotted_keys(node: Any, prefix: str = "") -> list[str]:
    """Dotted path of every leaf of a nested config."""
    items: Any
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list):
        items = enumerate(node)
    else:
        return [prefix]
    paths = [p for key, value in items for p in dotted_keys(value, f"{prefix}.{key}".lstrip("."))]
    return paths or [prefix]


def config_argument(command: CommandT) -> CommandT:
    """``CONFIG``."""
    return click.argument("config", type=click.Path())(command)


def override_arguments(command: CommandT) -> CommandT:
    """``[KEY=VALUE]...`` and ``--cfg-options KEY=VALUE``."""
    command = click.option(
        "--cfg-options",
        "cfg_options",
        multiple=True,
        metavar="KEY=VALUE",
        help="The same as a plain KEY=VALUE.",
        shell_complete=complete_override,
    )(command)
    return click.argument(
        "overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_override
    )(command)


def debug_option(command: CommandT) -> CommandT:
    """``--debug``, which the command group reads."""
    return click.option(
        "--debug",
        is_flag=True,
        help="Show tracebacks.",
        expose_value=False,
        callback=_remember_debug,
    )(command)


def _remember_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().ensure_object(dict)["debug"] = True


def load_config(path: str, overrides: Sequence[str], *, import_custom_modules: bool) -> Config:
    """The config at ``path`` with ``overrides`` applied; an unknown key is an error.

    Raises:
        ConfigError: If the file or an override is wrong.
    """
    if import_custom_modules:
        find_modules_beside(path)
    cfg = Config.fromfile(path, import_custom_modules=import_custom_modules)
    apply_overrides(cfg, list(overrides))
    return cfg


def find_modules_beside(path: str) -> None:
    """Let a config import modules that lie beside it or in the current folder, as scripts do."""
    for folder in (os.getcwd(), str(Path(path).resolve().parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)


def default_work_dir(cfg: Config) -> str:
    """The config's ``work_dir``, or ``work_dirs/<name of the config file>``."""
    if cfg.get("work_dir"):
        return str(cfg.work_dir)
    return os.path.join("work_dirs", Path(cfg.filename or "config").stem)


def command_prefix() -> str:
    """What to type before ``drivetrain`` where this process was started."""
    return "hatch run " if os.environ.get("HATCH_ENV_ACTIVE") else ""


def short_path(path: str) -> str:
    """``path`` as seen from the current folder, if it lies inside."""
    try:
        return str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return path
