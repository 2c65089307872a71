"""Let what a program prints appear above a live display."""

from __future__ import annotations

from typing import Any, TextIO

from rich.console import Console
from rich.text import Text


class LinesAbove:
    """A stream that hands whole lines to a console, which writes them above its live display.

    rich has such a stream, too, but it breaks long lines at the width of the terminal: a path that
    is copied from there comes in two pieces. Here the terminal breaks them, for display only.

    Args:
        console: Where the live display is.
        stream: What the console writes to in the end.
    """

    def __init__(self, console: Console, stream: TextIO) -> None:
        self._console = console
        self._rest = ""  # a line that is not finished: it has no place above the display yet
        self.rich_proxied_file = stream  # by this name the console finds the stream behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)

    def write(self, text: str) -> int:
        """Take in text; finished lines appear at once."""
        *lines, self._rest = (self._rest + text).split("\n")
        if lines:
            shown = Text("\n").join(Text.from_ansi(line) if line else Text() for line in lines)
            self._console.print(shown, soft_wrap=True, markup=False, highlight=False)
        return len(text)

    def flush(self) -> None:
        """Do nothing: finished lines are written already."""

    def finish(self) -> None:
        """Write what is left to the stream behind."""
        rest, self._rest = self._rest, ""
        self.rich_proxied_file.write(rest)
