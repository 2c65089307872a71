"""Trackers and pictures of a run: JSON lines, TensorBoard, plots."""

from drivetrain.visualization.__about__ import __version__
from drivetrain.visualization._backend import BaseVisBackend, force_init_env
from drivetrain.visualization._errors import (
    BackendError,
    DrawingError,
    DrawingTypeError,
    DuplicateBackendError,
    MissingLibraryError,
    NoImageError,
    RecordError,
    RunDataError,
    RunNotFoundError,
    UnknownBackendError,
    VisualizationError,
)
from drivetrain.visualization._image_grid import image_grid
from drivetrain.visualization._local_backend import LocalVisBackend
from drivetrain.visualization._plot_run import plot_run
from drivetrain.visualization._tensorboard_backend import TensorboardVisBackend
from drivetrain.visualization._visualizer import Visualizer

__all__ = [
    "BackendError",
    "BaseVisBackend",
    "DrawingError",
    "DrawingTypeError",
    "DuplicateBackendError",
    "LocalVisBackend",
    "MissingLibraryError",
    "NoImageError",
    "RecordError",
    "RunDataError",
    "RunNotFoundError",
    "TensorboardVisBackend",
    "UnknownBackendError",
    "VisualizationError",
    "Visualizer",
    "__version__",
    "force_init_env",
    "image_grid",
    "plot_run",
]
