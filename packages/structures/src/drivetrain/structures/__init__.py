"""Containers for annotations and predictions: one element, instances, pixels, labels."""

from drivetrain.structures.__about__ import __version__

__all__ = ["__version__"]
