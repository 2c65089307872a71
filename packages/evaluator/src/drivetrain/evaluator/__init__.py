"""Metrics, and the evaluator that gathers them over a dataset and over ranks."""

from drivetrain.evaluator.__about__ import __version__

__all__ = ["__version__"]
