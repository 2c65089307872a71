"""Devices, processes, precision and randomness: launchers, collectives, DDP, FSDP, AMP, strategies."""

from drivetrain.dist.__about__ import __version__

__all__ = ["__version__"]
