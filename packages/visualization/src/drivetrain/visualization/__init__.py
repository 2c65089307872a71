"""Trackers and pictures of a run: JSON lines, TensorBoard, plots."""

from drivetrain.visualization.__about__ import __version__

__all__ = ["__version__"]
