"""What the command shows when something fails, and the exit code that scripts get.

====  =========================================================================
code  meaning
====  =========================================================================
0     done
1     failed while running
2     wrong command line, config file or override: nothing was run
130   stopped by Ctrl-C (128 + SIGINT); 143 by SIGTERM
====  =========================================================================
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import click

FAILED = 1
USAGE = 2
INTERRUPTED = 128 + signal.SIGINT

#: Their errors say that the command or the config is wrong.
_CHECKING_PACKAGES = ("drivetrain.config", "drivetrain.registry", "drivetrain.runner")

#: So do these, of packages that do not check configs otherwise.
_WRONG_INPUT = (
    "WorkDirError",
    "LauncherError",
    "StrategyConfigError",
    "CheckpointNotFoundError",
    "LoaderConfigError",
    "EmptyLoaderError",
)

#: A failure whose message was written to be read: it says where, what and what to do.
_EXPLAINED_BUILTINS = (OSError, ImportError)


def exit_code_of(err: BaseException) -> int:
    """Exit code for an error that reached the top."""
    if isinstance(err, click.ClickException):
        return USAGE
    if isinstance(err, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(getattr(err, "exit_code", None), int):  # a run that a signal stopped
        return int(err.exit_code)  # type: ignore[attr-defined]  # looked for in the line above
    if isinstance(err, FloatingPointError):  # a training that diverged
        return FAILED
    refused = any(_comes_from(err, package) for package in _CHECKING_PACKAGES)
    wrong = _comes_from(err, "drivetrain") and any(
        base.__name__ in _WRONG_INPUT for base in type(err).__mro__
    )
    return USAGE if refused or wrong else FAILED


def show(err: BaseException, *, debug: bool) -> None:
    """Write an error to stderr: its message, and a traceback where that helps.

    Errors of ours, missing files and missing modules speak for themselves; anything else is a bug
    in somebody's code, and whoever mends it needs the traceback.
    """
    if isinstance(err, click.ClickException):
        err.show()
        return
    if isinstance(err, KeyboardInterrupt):
        click.echo("\nStopped at once; the last checkpoint is the newest state.", err=True)
        return
    if debug or not is_explained(err):
        traceback.print_exception(err, file=sys.stderr)
    else:
        click.secho("Error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(message_of(err), err=True)
        click.secho("       --debug shows the traceback.", dim=True, err=True)


def is_explained(err: BaseException) -> bool:
    """Whether the message of an error says what a person needs."""
    return isinstance(err, _EXPLAINED_BUILTINS) or _comes_from(err, "drivetrain")


def is_debug(state: Mapping[str, Any] | None) -> bool:
    """Whether tracebacks are wanted: by ``--debug``, or by the environment."""
    return bool((state or {}).get("debug")) or os.environ.get("DRIVETRAIN_DEBUG", "") not in (
        "",
        "0",
    )


def message_of(err: BaseException) -> str:
    """The message, of a file error in words; and what was noted about where it happened."""
    text = str(err) or type(err).__name__
    if isinstance(err, OSError) and err.strerror and not _comes_from(err, "drivetrain"):
        text = f"{err.filename}: {err.strerror}" if err.filename else err.strerror
    return "\n  ".join([text, *getattr(err, "__notes__", ())])


def _comes_from(err: BaseException, package: str) -> bool:
    """Whether the error's class, or one that it inherits, is defined in ``package``."""
    return any(
        base.__module__ == package or base.__module__.startswith(f"{package}.")
        for base in type(err).__mro__
    )
