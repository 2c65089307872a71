"""The logger of a run, found from anywhere, undisturbed by other libraries' logging."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Sequence
from logging import Logger, LogRecord
from typing import Any, Literal

from drivetrain.logging._console import ConsoleHandler, LineFileHandler, takes_lines
from drivetrain.logging._errors import LogFileError, LoggerTypeError, UnknownLoggerError
from drivetrain.logging._held_back import release, waiting
from drivetrain.logging._process import local_rank, process_rank, world_size
from drivetrain.registry import ManagerMixin


class MMLogger(Logger, ManagerMixin):
    """A logger that is reached by instance name, and that only its own settings govern.

    It hangs in no hierarchy: ``logging.getLogger`` does not find it, ``logging.basicConfig`` does
    not change it, and without a handler it stays silent. Lines go to the console, in colour on a
    terminal, and to ``log_file``. Of several processes the first one logs; the others print errors
    only, and have files of their own if ``distributed``, or at level DEBUG.

    Args:
        name: Name of this instance, for ``get_instance``.
        logger_name: Name shown in the lines.
        log_file: Where lines go besides the console; its folder must exist. Where several processes
            have files, the file of one is ``<stem>_<host>_device<local rank>_rank<rank><suffix>``.
        log_level: Lowest level that is logged, as ``logging`` has them; ``setLevel`` changes it.
        file_mode: ``"w"`` begins the file anew, ``"a"`` goes on.
        distributed: Whether each process writes a file, not only the first.

    Raises:
        LogFileError: If the log file cannot be opened.

    Example:
        >>> logger = MMLogger.get_instance("demo", log_level="WARNING")
        >>> logger.name, logger.instance_name
        ('drivetrain', 'demo')
        >>> logger is MMLogger.get_instance("demo"), logger is logging.getLogger("drivetrain")
        (True, False)
    """

    def __init__(
        self,
        name: str,
        logger_name: str = "drivetrain",
        log_file: str | os.PathLike[str] | None = None,
        log_level: int | str = "INFO",
        file_mode: str = "w",
        distributed: bool = False,
    ) -> None:
        Logger.__init__(self, logger_name)
        ManagerMixin.__init__(self, name)
        level = log_level.upper() if isinstance(log_level, str) else log_level
        self.setLevel(level)
        self._log_file: str | None = None
        is_first = process_rank() == 0
        # Handlers let everything pass, so that setLevel moves them along; other ranks' do not.
        self.addHandler(ConsoleHandler(logging.NOTSET if is_first else logging.ERROR))
        every_process = (distributed or self.level <= logging.DEBUG) and world_size() > 1
        if log_file is not None and (is_first or every_process):
            path = os.fspath(log_file)
            self._add_file(_path_of_process(path) if every_process else path, file_mode)

    def _add_file(self, path: str, mode: str) -> None:
        try:
            handler = LineFileHandler(path, mode)
        except OSError as err:
            raise LogFileError(
                f"MMLogger {self.instance_name!r}: cannot open the log file {path!r}: "
                f"{err.strerror or err}.\n"
                "  Its folder must exist and be writable."
            ) from err
        self.addHandler(handler)
        self._log_file = path

    @property
    def log_file(self) -> str | None:
        """Path of the file that this process writes; None if it writes none."""
        return self._log_file

    @classmethod
    def get_current_instance(cls) -> MMLogger:
        """Return the logger that was made last; if there is none, make one named 'drivetrain'."""
        if not cls._instance_dict:
            cls.get_instance("drivetrain")
        return super().get_current_instance()

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log at level INFO.

        A training does so every few iterations, and such a line shows neither caller nor thread: so
        the log record that knows them is made only where somebody else may look at it.
        """
        if waiting:
            release()
        if args or kwargs or self.filters or not self.takes_lines:
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # this method is not the caller
            super().info(msg, *args, **kwargs)
        else:
            self.info_lines([(time.time(), str(msg))])

    @property
    def takes_lines(self) -> bool:
        """Whether nobody sees more of a message than its line: all handlers are ours."""
        return all(map(takes_lines, self.handlers))

    def info_lines(self, lines: Sequence[tuple[float, str]]) -> None:
        """Log several lines at level INFO, where :attr:`takes_lines` holds, in one go.

        Args:
            lines: For each, when it was (seconds since the epoch), and its text.
        """
        if not self.isEnabledFor(logging.INFO):
            return
        for handler in self.handlers:
            if handler.level <= logging.INFO:
                self._write_lines(handler, lines)

    def _write_lines(self, handler: Any, lines: Sequence[tuple[float, str]]) -> None:
        try:
            line_of = handler.line_formatter.line
            name = self.name
            handler.write_line(
                "\n".join([line_of(at_s, name, "INFO", logging.INFO, text) for at_s, text in lines])
            )
        except Exception:  # as every handler of the standard library does: logging must not kill
            text = "\n".join(text for _, text in lines)
            handler.handleError(
                self.makeRecord(self.name, logging.INFO, __file__, 0, text, (), None)
            )

    def callHandlers(self, record: LogRecord) -> None:
        """Pass a record to the handlers of this logger; without any, it goes nowhere."""
        release()
        for handler in self.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)

    def setLevel(self, level: int | str) -> None:
        """Set the lowest level that is logged, by number or name."""
        release()  # what waits was logged before
        super().setLevel(level)
        # The base class clears the caches of the loggers in the hierarchy; typeshed hides them.
        self._cache.clear()  # pyrefly: ignore[missing-attribute]

    def addHandler(self, hdlr: logging.Handler) -> None:
        """Add a handler, for what is logged from now on."""
        release()
        super().addHandler(hdlr)

    def removeHandler(self, hdlr: logging.Handler) -> None:
        """Remove a handler; what was logged until now is written."""
        release()
        super().removeHandler(hdlr)

    def addFilter(self, filter: Any) -> None:
        """Add a filter, for what is logged from now on."""
        release()
        super().addFilter(filter)

    def close(self) -> None:
        """Close the log file, and stop logging."""
        for handler in list(self.handlers):
            self.removeHandler(handler)
            handler.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker process gets a logger of that name for its console: the file belongs to this one.
        return _get_logger, (self.instance_name, self.name, self.level)


def _get_logger(instance_name: str, logger_name: str, level: int) -> MMLogger:
    if MMLogger.check_instance_created(instance_name):
        return MMLogger.get_instance(instance_name)
    return MMLogger.get_instance(instance_name, logger_name=logger_name, log_level=level)


def _path_of_process(log_file: str) -> str:
    stem, suffix = os.path.splitext(log_file)
    return f"{stem}_{socket.gethostname()}_device{local_rank()}_rank{process_rank()}{suffix}"


def print_log(
    msg: object,
    logger: Logger | str | Literal["silent", "current"] | None = None,
    level: int = logging.INFO,
) -> None:
    """Print a message, or log it.

    Args:
        msg: The message.
        logger: None prints; ``"silent"`` does nothing; ``"current"`` takes the logger made last;
            another string is the instance name of an ``MMLogger``; or a logger itself.
        level: As ``logging`` has it; a printed message has none.

    Raises:
        UnknownLoggerError: If no logger of that name was made.
        LoggerTypeError: If ``logger`` is none of these.

    Example:
        >>> print_log("no logger was made yet")
        no logger was made yet
    """
    if logger is None:
        print(msg)  # noqa: T201 (documented: without a logger a message is printed)
    elif isinstance(logger, Logger):
        logger.log(level, msg, stacklevel=2)
    elif logger == "silent":
        pass
    elif logger == "current":
        MMLogger.get_current_instance().log(level, msg, stacklevel=2)
    elif isinstance(logger, str):
        if not MMLogger.check_instance_created(logger):
            raise UnknownLoggerError(
                f"print_log: no MMLogger named {logger!r} was made.\n"
                f"  Made so far: {', '.join(map(repr, MMLogger._instance_dict)) or 'none'}\n"
                f"  Make it first: MMLogger.get_instance({logger!r})"
            )
        MMLogger.get_instance(logger).log(level, msg, stacklevel=2)
    else:
        raise LoggerTypeError(
            "print_log: logger must be a logging.Logger, a name, 'silent', 'current' or None, "
            f"got {type(logger).__name__}"
        )
