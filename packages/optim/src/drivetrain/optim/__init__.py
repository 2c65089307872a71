"""Optimizer wrappers, their constructors, and parameter schedulers."""

from drivetrain.optim.__about__ import __version__

__all__ = ["__version__"]
