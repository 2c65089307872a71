"""Config files in Python, YAML and JSON: inheritance, overrides, and where each value comes from."""

from drivetrain.config.__about__ import __version__

__all__ = ["__version__"]
