"""Trackers and pictures of a run: JSON lines, TensorBoard, plots."""

from drivetrain.visualization.__about__ import __version__
from drivetrain.visualization._aim_backend import AimVisBackend
from drivetrain.visualization._arguments import (
    check_length,
    check_type,
    check_type_and_length,
    color_str2rgb,
    color_val_matplotlib,
    tensor2ndarray,
    value2list,
)
from drivetrain.visualization._backend import BaseVisBackend, force_init_env
from drivetrain.visualization._canvas import img_from_canvas
from drivetrain.visualization._clearml_backend import ClearMLVisBackend
from drivetrain.visualization._dvclive_backend import DVCLiveVisBackend
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
from drivetrain.visualization._featmap import convert_overlay_heatmap
from drivetrain.visualization._image_grid import image_grid
from drivetrain.visualization._local_backend import LocalVisBackend
from drivetrain.visualization._mlflow_backend import MLflowVisBackend
from drivetrain.visualization._neptune_backend import NeptuneVisBackend
from drivetrain.visualization._plot_run import plot_run
from drivetrain.visualization._tensor_images import tensor2imgs
from drivetrain.visualization._tensorboard_backend import TensorboardVisBackend
from drivetrain.visualization._visualizer import Visualizer
from drivetrain.visualization._wandb_backend import WandbVisBackend
from drivetrain.visualization._window import wait_continue

__all__ = [
    "AimVisBackend",
    "BackendError",
    "BaseVisBackend",
    "ClearMLVisBackend",
    "DVCLiveVisBackend",
    "DrawingError",
    "DrawingTypeError",
    "DuplicateBackendError",
    "LocalVisBackend",
    "MLflowVisBackend",
    "MissingLibraryError",
    "NeptuneVisBackend",
    "NoImageError",
    "RecordError",
    "RunDataError",
    "RunNotFoundError",
    "TensorboardVisBackend",
    "UnknownBackendError",
    "VisualizationError",
    "Visualizer",
    "WandbVisBackend",
    "__version__",
    "check_length",
    "check_type",
    "check_type_and_length",
    "color_str2rgb",
    "color_val_matplotlib",
    "convert_overlay_heatmap",
    "force_init_env",
    "image_grid",
    "img_from_canvas",
    "plot_run",
    "tensor2imgs",
    "tensor2ndarray",
    "value2list",
    "wait_continue",
]
