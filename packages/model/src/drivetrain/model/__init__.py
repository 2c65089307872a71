"""Base classes of models, weight initialization, preprocessing, averaged models."""

from drivetrain.model.__about__ import __version__

__all__ = ["__version__"]
