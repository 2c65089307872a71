"""What a training says at its end: results, files, and what to type next."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from drivetrain.cli._arguments import command_prefix, short_path
from drivetrain.runner.hooks import CheckpointHook
from drivetrain.visualization import RunDataError, plot_run

if TYPE_CHECKING:
    from drivetrain.runner import Runner


class RunReport:
    """The last screen of a training.

    Args:
        runner: The runner, when all is done.
        config: Path of the config, as the user typed it.
        trained_s: How long training took, in seconds.
        test_metrics: What the test gave, if there was one.
    """

    def __init__(
        self,
        runner: Runner,
        config: str,
        trained_s: float,
        test_metrics: Mapping[str, float] | None,
    ) -> None:
        self._runner = runner
        self._config = config
        self._trained_s = trained_s
        self._test_metrics = test_metrics

    def show(self) -> None:
        """Print it."""
        print_table(self._table())
        console = _console()
        console.print("\nNext:")
        for what, command in self._next_commands():
            console.print(f"  {what:<22} {command}", highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        runner = self._runner
        table = Table(title="Results", show_header=False, title_justify="left")
        for name, value in (self._test_metrics or {}).items():
            table.add_row(f"test {name}", _number(value))
        for name, value in self._best_scores().items():
            table.add_row(f"best validation {name}", _number(value))
        table.add_row("epochs, iterations", f"{runner.progress.epoch}, {runner.progress.iter}")
        table.add_row("training time", str(datetime.timedelta(seconds=round(self._trained_s))))
        for what, path in self._files():
            table.add_row(what, short_path(path))
        return table

    def _best_scores(self) -> dict[str, float]:
        hooks = (hook for hook in self._runner.hooks if isinstance(hook, CheckpointHook))
        return {name: value for hook in hooks for name, value in hook.best_scores.items()}

    def _files(self) -> list[tuple[str, str]]:
        runner = self._runner
        best = runner.message_hub.get_info("best_ckpt")
        files = [("best checkpoint", best)] if best else []
        drawn = self._picture()
        files += [("picture of the run", drawn)] if drawn else []
        pictures = sorted(Path(runner.log_dir).rglob("*.png"))
        files += [(p.stem.replace("_", " "), str(p)) for p in pictures if str(p) != drawn]
        files.append(("log", str(Path(runner.log_dir) / f"{runner.timestamp}.log")))
        return files

    def _picture(self) -> str | None:
        try:
            return str(plot_run(self._runner.log_dir))
        except RunDataError:  # the run was shorter than one interval of its log
            return None

    def _next_commands(self) -> list[tuple[str, str]]:
        best = self._runner.message_hub.get_info("best_ckpt")
        checkpoint = [short_path(best)] if best else []
        commands = {
            "test again": ["drivetrain", "test", self._config, *checkpoint],
            "change something": ["drivetrain", "train", self._config, "KEY=VALUE"],
            "see the whole config": ["drivetrain", "config", "show", self._config],
            "watch curves": ["tensorboard", "--logdir", short_path(self._runner.work_dir)],
        }
        return [(what, command_prefix() + shlex.join(words)) for what, words in commands.items()]


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """Names and values of metrics."""
    table = Table(show_header=False)
    for name, value in metrics.items():
        table.add_row(name, _number(value))
    return table


def print_table(table: Table, title: str | None = None) -> None:
    """Print a table on the terminal, or as plain text into a file.

    Args:
        table: The table.
        title: A line above it, which may be wider than the table.
    """
    console = _console()
    if title is not None:
        console.print(title, highlight=False, soft_wrap=True, markup=False)
    console.print(table)


def _console() -> Console:
    console = Console()
    # Paths must stay whole where there is no terminal whose width would matter.
    return console if console.is_terminal else Console(width=200)


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
