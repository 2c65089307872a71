"""How a log record becomes a line, and how the line reaches the terminal."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

DATE_FORMAT = "%Y/%m/%d %H:%M:%S"

_RESET = "\x1b[0m"
_COLORS = {
    logging.DEBUG: "\x1b[2m",  # dim
    logging.INFO: "\x1b[36m",  # cyan
    logging.WARNING: "\x1b[33m",  # yellow
    logging.ERROR: "\x1b[1;31m",  # bold red
    logging.CRITICAL: "\x1b[1;31m",
}


def colors_wanted(stream: TextIO) -> bool:
    """Say whether a stream ends at a terminal that shows colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class LineFormatter(logging.Formatter):
    """``2026/01/31 10:20:30 - drivetrain - INFO - message``; an error also says where it is from.

    Args:
        color: Whether the level stands out in its colour.
    """

    def __init__(self, color: bool = False) -> None:
        super().__init__(datefmt=DATE_FORMAT)
        self.color = color
        self._second: tuple[int, str] = (-1, "")  # the last one, and how it is written

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; nearly all are without an exception, and then it is one line."""
        if record.exc_info or record.exc_text or record.stack_info:
            return super().format(record)
        record.message = record.getMessage()
        return self.formatMessage(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        level = record.levelname
        if self.color and record.levelno in _COLORS:
            level = f"{_COLORS[record.levelno]}{level}{_RESET}"
        line = f"{self.formatTime(record, self.datefmt)} - {record.name} - {level} - "
        if record.levelno >= logging.ERROR:
            line += f"{record.pathname} - {record.funcName or ''} - {record.lineno} - "
        return line + record.message

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Write the time of a record; many are of the same second."""
        second, text = self._second
        if int(record.created) != second:
            text = super().formatTime(record, datefmt)
            self._second = (int(record.created), text)
        return text


class LineFileHandler(logging.FileHandler):
    """Write lines to a file: what ``FileHandler`` does, in fewer calls."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, and hand it to the system: it survives the process."""
        stream = self.stream
        if stream is None:  # not open yet, or not any more
            super().emit(record)
            return
        try:
            stream.write(self.format(record) + "\n")
            stream.flush()
        except Exception:  # as every handler of the standard library does: logging must not kill
            self.handleError(record)


class ConsoleHandler(logging.Handler):
    """Write lines to what ``sys.stdout`` is at that moment, in colour if it is a terminal.

    A progress display, a notebook or a test replaces ``sys.stdout`` after the logger was made, so
    holding on to the stream of that day would write past them.
    """

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._plain = LineFormatter()
        self._colored = LineFormatter(color=True)

    def format(self, record: logging.LogRecord) -> str:
        """Format a record for the terminal, or for the file that stands in its place."""
        formatter = self.formatter
        if formatter is None:
            formatter = self._colored if colors_wanted(sys.stdout) else self._plain
        return formatter.format(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            sys.stdout.write(self.format(record) + "\n")
            sys.stdout.flush()
        except Exception:  # as every handler of the standard library does: logging must not kill
            self.handleError(record)
