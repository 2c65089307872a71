"""Errors of the engine.

::

    RunnerError
    ├── RunnerConfigError (ValueError)       arguments that contradict one another
    ├── MissingPartError (RuntimeError)      train, val or test was asked for without its parts
    ├── NothingToResumeError (FileNotFoundError)
    ├── MetricNotFoundError (KeyError)       a hook waits for a metric that no evaluator reports
    └── TrainingInterrupted                  a signal stopped training at a step border
"""

from __future__ import annotations

import signal


class RunnerError(Exception):
    """Anything that the engine itself finds wrong."""


class RunnerConfigError(RunnerError, ValueError):
    """The arguments of a runner contradict one another."""


class MissingPartError(RunnerError, RuntimeError):
    """``train()``, ``val()`` or ``test()`` was called without what it needs."""


class NothingToResumeError(RunnerError, FileNotFoundError):
    """A run should go on, but there is no usable checkpoint."""


class MetricNotFoundError(RunnerError, KeyError):
    """A hook waits for a metric that the evaluator does not report."""

    def __str__(self) -> str:  # KeyError shows the repr of its message
        return str(self.args[0])


class TrainingInterrupted(RunnerError):
    """A signal asked training to stop; it stopped at a step border.

    Attributes:
        signum: The signal that was received.
        checkpoint: Path of the checkpoint that continues the run, or None if none was written.
    """

    def __init__(self, signum: int, checkpoint: str | None) -> None:
        self.signum = signum
        self.checkpoint = checkpoint
        name = signal.Signals(signum).name
        where = f"state saved in {checkpoint}" if checkpoint else "no state saved"
        super().__init__(f"stopped by {name} at a step border; {where}")
