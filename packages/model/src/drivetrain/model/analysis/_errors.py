"""The error of this subpackage, a member of the package's tree."""

from __future__ import annotations

from drivetrain.model._errors import ModelError


class AnalysisError(ModelError, ValueError):
    """A model cannot be analyzed as asked."""
