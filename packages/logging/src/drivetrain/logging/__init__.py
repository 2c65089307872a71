"""The log of a run: logger, message hub, scalar history, progress bars and timers."""

from drivetrain.logging.__about__ import __version__

__all__ = ["__version__"]
