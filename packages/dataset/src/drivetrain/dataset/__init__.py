"""Datasets, samplers, collation, and loaders that resume at the exact sample."""

from drivetrain.dataset.__about__ import __version__

__all__ = ["__version__"]
