"""The log of a run: logger, message hub, scalar history, progress bars and timers."""

from drivetrain.logging.__about__ import __version__
from drivetrain.logging._console import ConsoleHandler, LineFormatter
from drivetrain.logging._errors import (
    LogFileError,
    LoggerError,
    LoggerTypeError,
    LoggingError,
    ProgressError,
    ResumeFlagError,
    ScalarError,
    ScalarTypeError,
    ScalarValueError,
    StateError,
    TimerError,
    UnknownLoggerError,
    UnknownScalarError,
    UnknownStatisticError,
)
from drivetrain.logging._held_back import hold_back, release
from drivetrain.logging._history_buffer import HistoryBuffer
from drivetrain.logging._inbox import FULL
from drivetrain.logging._logger import MMLogger, print_log
from drivetrain.logging._message_hub import MessageHub
from drivetrain.logging._process import process_rank
from drivetrain.logging._progress_bar import ProgressBar
from drivetrain.logging._run_progress import RunProgress
from drivetrain.logging._time_counter import TimeCounter
from drivetrain.logging._timer import Timer, check_time
from drivetrain.logging._track import (
    init_pool,
    track_iter_progress,
    track_parallel_progress,
    track_progress,
    track_progress_rich,
)

__all__ = [
    "FULL",
    "ConsoleHandler",
    "HistoryBuffer",
    "LineFormatter",
    "LogFileError",
    "LoggerError",
    "LoggerTypeError",
    "LoggingError",
    "MMLogger",
    "MessageHub",
    "ProgressBar",
    "ProgressError",
    "ResumeFlagError",
    "RunProgress",
    "ScalarError",
    "ScalarTypeError",
    "ScalarValueError",
    "StateError",
    "TimeCounter",
    "Timer",
    "TimerError",
    "UnknownLoggerError",
    "UnknownScalarError",
    "UnknownStatisticError",
    "__version__",
    "check_time",
    "hold_back",
    "init_pool",
    "print_log",
    "process_rank",
    "release",
    "track_iter_progress",
    "track_parallel_progress",
    "track_progress",
    "track_progress_rich",
]
