"""What can go wrong while keeping the log of a run.

LoggingError
├── LoggerError                  a logger that cannot be found or made
│   ├── UnknownLoggerError       (ValueError)
│   ├── LoggerTypeError          (TypeError)
│   └── LogFileError             (OSError)
├── ScalarError                  a value or a history that cannot be kept or read
│   ├── ScalarTypeError          (TypeError)
│   ├── ScalarValueError         (ValueError)
│   ├── UnknownScalarError       (KeyError)
│   ├── UnknownStatisticError    (KeyError)
│   └── ResumeFlagError          (AssertionError)
├── StateError                   (ValueError) a state that is none of a message hub
├── ProgressError                (TypeError) tasks that cannot be tracked
└── TimerError                   a timer that is read before it runs
"""

from __future__ import annotations


class LoggingError(Exception):
    """Root of all errors of this package."""

    def __str__(self) -> str:  # KeyError shows repr(message): newlines would come out as \n
        return str(self.args[0]) if self.args else ""


class LoggerError(LoggingError):
    """A logger cannot be found or made."""


class UnknownLoggerError(LoggerError, ValueError):
    """No logger of that name has been created."""


class LoggerTypeError(LoggerError, TypeError):
    """What was given as a logger is none."""


class LogFileError(LoggerError, OSError):
    """The log file cannot be opened."""


class ScalarError(LoggingError):
    """A value, or a history of values, cannot be kept or read."""


class ScalarTypeError(ScalarError, TypeError):
    """A value of a type that no number can be made of."""


class ScalarValueError(ScalarError, ValueError):
    """A value of the right type, but not one number; or histories that do not fit together."""


class UnknownScalarError(ScalarError, KeyError):
    """Nothing was recorded under that name."""


class UnknownStatisticError(ScalarError, KeyError):
    """No statistic is registered under that name."""


class ResumeFlagError(ScalarError, AssertionError):
    """One key was recorded both as to be resumed and as not to be resumed."""


class StateError(LoggingError, ValueError):
    """A state to load does not come from a message hub."""


class ProgressError(LoggingError, TypeError):
    """The tasks given cannot be tracked."""


class TimerError(LoggingError):
    """A timer was read before it was started."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)
