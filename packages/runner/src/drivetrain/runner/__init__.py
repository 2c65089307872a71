"""The engine: runner, loops, hooks, log lines, and the drivetrain command."""

from drivetrain.runner.__about__ import __version__

__all__ = ["__version__"]
