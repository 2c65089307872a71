"""Bars on a terminal, drawn by rich."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from drivetrain.logging._lines_above import LinesAbove

if TYPE_CHECKING:
    from drivetrain.logging._run_progress import Phase

REFRESH_PER_S = 10


class SpeedColumn(ProgressColumn):
    """Steps per second, or seconds per step where one takes longer than that."""

    def render(self, task: Task) -> Text:
        """Show the speed of the last half minute."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("  -- it/s", style="progress.data.speed")
        shown = f"{speed:5.1f} it/s" if speed >= 1 else f"{1 / speed:5.1f} s/it"
        return Text(shown, style="progress.data.speed")


class LiveBars(Progress):
    """A bar for each phase; the figures of the innermost phase below."""

    def __init__(self, console: Console | None = None) -> None:
        self._shown: dict[TaskID, Phase] = {}
        self._streams = sys.stdout, sys.stderr
        super().__init__(
            TextColumn("[bold cyan]{task.description:<5}"),
            BarColumn(bar_width=None, complete_style="cyan", finished_style="green"),
            MofNCompleteColumn(),
            SpeedColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]<[/dim]"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=REFRESH_PER_S,
            transient=True,
            expand=True,
            redirect_stdout=False,  # start() does it
            redirect_stderr=False,
        )

    def add(self, phase: Phase) -> None:
        """Show one more phase, below the others."""
        task = self.add_task(phase.name, total=phase.total, completed=phase.done)
        self._shown[task] = phase
        if not self.live.is_started:
            self.start()

    def remove(self, phase: Phase) -> None:
        """Show a phase no longer."""
        for task in [task for task, shown in self._shown.items() if shown is phase]:
            del self._shown[task]
            self.remove_task(task)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Take over the counts, here in the drawing thread: the loop does not call rich."""
        for task, phase in list(self._shown.items()):
            self.update(task, completed=phase.done)
        yield self.make_tasks_table(self.tasks)
        text = next((p.text for p in reversed(list(self._shown.values())) if p.text), "")
        if text:
            yield Group(Text(text, style="dim", no_wrap=True, overflow="ellipsis"))

    def start(self) -> None:
        """Begin to draw; what is printed appears above the bars."""
        super().start()
        self._streams = sys.stdout, sys.stderr
        if self.console.is_terminal:
            sys.stdout = cast(TextIO, LinesAbove(self.console, sys.stdout))
            sys.stderr = cast(TextIO, LinesAbove(self.console, sys.stderr))

    def stop(self) -> None:
        """Remove the bars, and give the streams back."""
        ours = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, LinesAbove)]
        super().stop()
        self.let_go()
        for stream in ours:
            stream.finish()

    def let_go(self) -> None:
        """Write to the real streams again; in a forked child touch nothing else."""
        if isinstance(sys.stdout, LinesAbove):
            sys.stdout = self._streams[0]
        if isinstance(sys.stderr, LinesAbove):
            sys.stderr = self._streams[1]
