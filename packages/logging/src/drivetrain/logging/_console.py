"""How a log record becomes a line, and how the line reaches the terminal."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TextIO

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
        message = record.message
        if record.levelno >= logging.ERROR:
            message = f"{record.pathname} - {record.funcName or ''} - {record.lineno} - {message}"
        return self.line(record.created, record.name, record.levelname, record.levelno, message)

    def line(self, created_s: float, name: str, level: str, level_number: int, text: str) -> str:
        """Put a line together; many are of the same second."""
        second, stamp = self._second
        if second != int(created_s):
            second = int(created_s)
            stamp = time.strftime(DATE_FORMAT, time.localtime(second))
            self._second = (second, stamp)
        if self.color and level_number in _COLORS:
            level = f"{_COLORS[level_number]}{level}{_RESET}"
        return f"{stamp} - {name} - {level} - {text}"


def lock_of(handler: logging.Handler) -> AbstractContextManager[Any]:
    """What ``handler.acquire`` waits for."""
    return handler.lock or nullcontext()


class LineFileHandler(logging.FileHandler):
    """Write lines to a file, at once on their way to the disk."""

    def __init__(self, path: str, mode: str) -> None:
        super().__init__(path, mode, encoding="utf-8")
        self.mode = "a"  # opened again after somebody closed it, as at exit, it goes on
        self.line_formatter = self.formatter = LineFormatter()

    def write_line(self, line: str) -> None:
        """Write a line that is formatted already."""
        with lock_of(self):
            if self.stream is None:  # closed by somebody
                self.stream = self._open()
            self.stream.write(line + "\n")
            self.stream.flush()


class ConsoleHandler(logging.Handler):
    """Write lines to what ``sys.stdout`` is at that moment, in colour if it is a terminal.

    A progress display, a notebook or a test replaces ``sys.stdout`` after the logger was made, so
    holding on to the stream of that day would write past them.
    """

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._plain = LineFormatter()
        self._colored = LineFormatter(color=True)

    @property
    def line_formatter(self) -> LineFormatter:
        """What makes a line for the terminal, or for the file that stands in its place."""
        return self._colored if colors_wanted(sys.stdout) else self._plain

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return (self.formatter or self.line_formatter).format(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self.write_line(self.format(record))
        except Exception:  # as every handler of the standard library does: logging must not kill
            self.handleError(record)

    def write_line(self, line: str) -> None:
        """Write a line that is formatted already."""
        with lock_of(self):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def takes_lines(handler: logging.Handler) -> bool:
    """Tell whether a handler is one of these, as it was made: it needs no record to show a line."""
    if handler.filters:
        return False
    if type(handler) is ConsoleHandler:
        return handler.formatter is None
    return type(handler) is LineFileHandler and handler.formatter is handler.line_formatter
