"""Proofs about trainings, for tests of your own: is a resumed run the one that was killed?"""

from drivetrain.testing._errors import ResumeNotExactError, TrialError
from drivetrain.testing._report import Comparison, Finding, ResumeReport
from drivetrain.testing._verify import assert_resume_is_exact, verify_resume

__all__ = [
    "Comparison",
    "Finding",
    "ResumeNotExactError",
    "ResumeReport",
    "TrialError",
    "assert_resume_is_exact",
    "verify_resume",
]
