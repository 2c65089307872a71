"""The engine: runner, loops, hooks and log lines."""

from drivetrain.checkpoint import (
    CheckpointLoader,
    find_latest_checkpoint,
    get_state_dict,
    load_checkpoint,
    load_state_dict,
    save_checkpoint,
    weights_to_cpu,
)
from drivetrain.dist import autocast, set_random_seed
from drivetrain.runner import hooks as hooks
from drivetrain.runner.__about__ import __version__
from drivetrain.runner._base_loop import BaseLoop
from drivetrain.runner._errors import (
    InferencerError,
    MetricNotFoundError,
    MissingPartError,
    ModelIndexError,
    NonFiniteError,
    NothingToResumeError,
    Preempted,
    ReplayError,
    RunnerConfigError,
    RunnerError,
    TrainingInterrupted,
)
from drivetrain.runner._eval_loops import TestLoop, ValLoop
from drivetrain.runner._flexible_runner import FlexibleRunner
from drivetrain.runner._log_processor import LogProcessor
from drivetrain.runner._priority import Priority, get_priority
from drivetrain.runner._progress import Progress
from drivetrain.runner._runner import Runner
from drivetrain.runner._train_loops import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    _InfiniteDataloaderIterator,
    calc_dynamic_intervals,
)
from drivetrain.runner._tta_runner import build_runner_with_tta

__all__ = [
    "BaseLoop",
    "CheckpointLoader",
    "EpochBasedTrainLoop",
    "FlexibleRunner",
    "InferencerError",
    "IterBasedTrainLoop",
    "LogProcessor",
    "MetricNotFoundError",
    "MissingPartError",
    "ModelIndexError",
    "NonFiniteError",
    "NothingToResumeError",
    "Preempted",
    "Priority",
    "Progress",
    "ReplayError",
    "Runner",
    "RunnerConfigError",
    "RunnerError",
    "TestLoop",
    "TrainingInterrupted",
    "ValLoop",
    "_InfiniteDataloaderIterator",
    "__version__",
    "autocast",
    "build_runner_with_tta",
    "calc_dynamic_intervals",
    "find_latest_checkpoint",
    "get_priority",
    "get_state_dict",
    "hooks",
    "load_checkpoint",
    "load_state_dict",
    "save_checkpoint",
    "set_random_seed",
    "weights_to_cpu",
]
