"""Registries of components, built from config nodes and found through entry points."""

from drivetrain.registry.__about__ import __version__

__all__ = ["__version__"]
