"""Errors of the engine.

::

    RunnerError
    ├── RunnerConfigError (ValueError)       arguments that contradict one another
    ├── MissingPartError (RuntimeError)      train, val or test was asked for without its parts
    ├── NothingToResumeError (FileNotFoundError)
    ├── MetricNotFoundError (KeyError)       a hook waits for a metric that no evaluator reports
    ├── NonFiniteError (FloatingPointError)  a loss or a gradient is not a finite number
    ├── InferencerError (ValueError)         an inferencer cannot be made, or not used like this
    ├── ModelIndexError (LookupError)        a package offers no such model
    ├── ReplayError (ValueError)             a replay file that cannot be replayed
    └── TrainingInterrupted                  a signal stopped training at a step border
        └── Preempted (SystemExit)           the same, and the process is to end with 143
"""

from __future__ import annotations

import signal
from typing import ClassVar


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

    @property
    def exit_code(self) -> int:
        """What the process should end with: 128 and the number of the signal, as in a shell."""
        return 128 + self.signum


class Preempted(TrainingInterrupted, SystemExit):
    """A scheduler asked for the machine; uncaught, it ends the process with :attr:`exit_code`.

    Attributes:
        code: The exit code.
    """

    #: 128 + SIGTERM, whichever signal it was: schedulers take it for "to be queued again".
    EXIT_CODE: ClassVar[int] = 143

    def __init__(self, signum: int, checkpoint: str | None, exit_code: int = EXIT_CODE) -> None:
        super().__init__(signum, checkpoint)
        self.code = exit_code

    @property
    def exit_code(self) -> int:
        """What the process should end with."""
        return int(self.code or 0)


class NonFiniteError(RunnerError, FloatingPointError):
    """A loss or a gradient became NaN or infinite.

    Attributes:
        iteration: Number of the iteration, from 1 on.
        rank: The rank on which it happened; the lowest of several.
        replay_file: File from which the step can be repeated on that rank, or None.
    """

    def __init__(self, text: str, iteration: int, rank: int, replay_file: str | None) -> None:
        self.iteration = iteration
        self.rank = rank
        self.replay_file = replay_file
        super().__init__(text)


class ReplayError(RunnerError, ValueError):
    """A file is no replay file, or lacks what a replay needs."""


class InferencerError(RunnerError, ValueError):
    """An inferencer lacks something, or got arguments that it does not know."""


class ModelIndexError(RunnerError, LookupError):
    """An installed package offers no such model, config or weights."""
