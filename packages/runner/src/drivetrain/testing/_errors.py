"""Errors of the proofs.

::

    RunnerError
    └── TrialError (RuntimeError)       a training of a proof did not get as far as it should
        └── ResumeNotExactError (AssertionError)
"""

from __future__ import annotations

from drivetrain.runner import RunnerError


class TrialError(RunnerError, RuntimeError):
    """A training of a proof failed, or is too short for it."""


class ResumeNotExactError(TrialError, AssertionError):
    """A resumed training is not the one that was interrupted."""
