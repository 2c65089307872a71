"""The root registries: one for each kind of component of a training."""

from __future__ import annotations

from drivetrain.registry._build import (
    build_model_from_cfg,
    build_runner_from_cfg,
    build_scheduler_from_cfg,
)
from drivetrain.registry._registry import Registry
from drivetrain.registry._scope import ROOT_SCOPE

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    # For editors only: what `build` returns. Without torch installed it is unknown, as before.
    from torch.nn import Module  # type: ignore[import-not-found,unused-ignore]
    from torch.optim import Optimizer  # type: ignore[import-not-found,unused-ignore]
    from torch.utils.data import Dataset, Sampler  # type: ignore[import-not-found,unused-ignore]

RUNNERS: Registry[Any] = Registry("runner", build_runner_from_cfg, scope=ROOT_SCOPE)
RUNNER_CONSTRUCTORS: Registry[Any] = Registry("runner_constructor", scope=ROOT_SCOPE)
LOOPS: Registry[Any] = Registry("loop", scope=ROOT_SCOPE)
HOOKS: Registry[Any] = Registry("hook", scope=ROOT_SCOPE)
STRATEGIES: Registry[Any] = Registry("strategy", scope=ROOT_SCOPE)
LOG_PROCESSORS: Registry[Any] = Registry("log_processor", scope=ROOT_SCOPE)

DATASETS: Registry[Dataset[Any]] = Registry("dataset", scope=ROOT_SCOPE)
DATA_SAMPLERS: Registry[Sampler[Any]] = Registry("data_sampler", scope=ROOT_SCOPE)
TRANSFORMS: Registry[Any] = Registry("transform", scope=ROOT_SCOPE)

MODELS: Registry[Module] = Registry("model", build_model_from_cfg, scope=ROOT_SCOPE)
MODEL_WRAPPERS: Registry[Module] = Registry("model_wrapper", scope=ROOT_SCOPE)
WEIGHT_INITIALIZERS: Registry[Any] = Registry("weight_initializer", scope=ROOT_SCOPE)

OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", scope=ROOT_SCOPE)
OPTIM_WRAPPERS: Registry[Any] = Registry("optim_wrapper", scope=ROOT_SCOPE)
OPTIM_WRAPPER_CONSTRUCTORS: Registry[Any] = Registry("optim_wrapper_constructor", scope=ROOT_SCOPE)
PARAM_SCHEDULERS: Registry[Any] = Registry(
    "param_scheduler", build_scheduler_from_cfg, scope=ROOT_SCOPE
)

TASK_UTILS: Registry[Any] = Registry("task_util", scope=ROOT_SCOPE)
METRICS: Registry[Any] = Registry("metric", scope=ROOT_SCOPE)
EVALUATOR: Registry[Any] = Registry("evaluator", scope=ROOT_SCOPE)
VISUALIZERS: Registry[Any] = Registry("visualizer", scope=ROOT_SCOPE)
VISBACKENDS: Registry[Any] = Registry("vis_backend", scope=ROOT_SCOPE)
INFERENCERS: Registry[Any] = Registry("inferencer", scope=ROOT_SCOPE)
FUNCTIONS: Registry[Any] = Registry("function", scope=ROOT_SCOPE)
