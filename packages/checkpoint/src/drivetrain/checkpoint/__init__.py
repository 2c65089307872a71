"""Write and read training state so that a kill never costs a checkpoint."""

from drivetrain.checkpoint.__about__ import __version__

__all__ = ["__version__"]
