"""The live display of a run: one bar for each phase that is going on, and a line of figures."""

from __future__ import annotations

import os
import sys
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivetrain.logging._process import process_rank

if TYPE_CHECKING:
    from drivetrain.logging._live_bars import LiveBars


@dataclass
class Phase:
    """One phase of a run, as far as its bar has to know it."""

    name: str
    total: int | None
    done: int
    text: str = ""


class RunProgress:
    """Show on a terminal how far a run is.

    The loop only adds to a number; a thread of its own draws, ten times a second. What is printed
    meanwhile appears above the bars. Phases nest: a validation inside a training has a bar of its
    own. Away from a terminal, and in all processes but the first, every method does nothing.

    Args:
        enabled: Whether to draw; None draws on a terminal, in the first process.

    Example:
        >>> progress = RunProgress(enabled=False)
        >>> progress.start("train", total=100)
        >>> progress.advance()
        >>> progress.describe("loss 0.12  lr 1e-3  eta 0:01:02")
        >>> progress.close()
    """

    def __init__(self, enabled: bool | None = None) -> None:
        self.enabled = on_terminal() and process_rank() == 0 if enabled is None else enabled
        self._phases: list[Phase] = []
        self._phase = Phase("", None, 0)  # what advance() counts in where no phase has begun
        self._bars: LiveBars | None = None

    def start(self, phase: str, total: int | None, completed: int = 0) -> None:
        """Begin a phase, inside of the one that is going on.

        Args:
            phase: Its name.
            total: How many steps it has; None if nobody knows.
            completed: How many of them are done already, as after a resume.
        """
        if not self.enabled:
            return
        self._phase = Phase(phase, total, completed)
        self._phases.append(self._phase)
        if self._bars is None:
            from drivetrain.logging._live_bars import LiveBars  # loads rich: 0.1 s, if drawn only

            self._bars = LiveBars()
            _let_go_in_children(self._bars)
        self._bars.add(self._phase)

    def advance(self, n: int = 1) -> None:
        """Count ``n`` steps of the innermost phase as done."""
        self._phase.done += n

    def describe(self, text: str) -> None:
        """Show the figures of the innermost phase below the bars."""
        self._phase.text = text

    def finish(self) -> None:
        """End the innermost phase; the one around it goes on."""
        if not self._phases:
            return
        finished = self._phases.pop()
        self._phase = self._phases[-1] if self._phases else Phase("", None, 0)
        if self._bars is not None:
            self._bars.remove(finished)
            if not self._phases:
                self.close()

    def close(self) -> None:
        """Remove the bars, and give the terminal back. May be called at any time, and twice."""
        self._phases.clear()
        self._phase = Phase("", None, 0)
        bars, self._bars = self._bars, None
        if bars is not None:
            bars.stop()

    def __enter__(self) -> RunProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def on_terminal() -> bool:
    """Say whether standard output is a terminal that can draw over its lines."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def _let_go_in_children(bars: LiveBars) -> None:
    """Give a forked child plain streams: it has no drawing thread, but maybe a copy of its lock."""
    if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
        reference = weakref.ref(bars)

        def let_go() -> None:
            mine = reference()
            if mine is not None:
                mine.let_go()

        os.register_at_fork(after_in_child=let_go)
