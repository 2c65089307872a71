"""Optimizer wrappers, their constructors, and parameter schedulers."""

from drivetrain.optim.__about__ import __version__
from drivetrain.optim._accumulation import AccumulationPlan
from drivetrain.optim._amp import AmpOptimWrapper
from drivetrain.optim._apex import ApexOptimWrapper
from drivetrain.optim._build import build_optim_wrapper, build_param_schedulers
from drivetrain.optim._colossalai import ColossalAIOptimWrapper
from drivetrain.optim._constructor import DefaultOptimWrapperConstructor
from drivetrain.optim._cosine import CosineAnnealingParamScheduler, CosineRestartParamScheduler
from drivetrain.optim._deepspeed import DeepSpeedOptimWrapper
from drivetrain.optim._describe import describe
from drivetrain.optim._errors import (
    AmbiguousUpdateError,
    LossError,
    NonFiniteLossError,
    OptimArgumentError,
    OptimDependencyError,
    OptimError,
    OptimStateError,
    OptimTypeError,
    ParamGroupKeyError,
    ParamwiseError,
    ScheduleError,
)
from drivetrain.optim._lr_schedules import (
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    LinearLR,
    LRSchedulerMixin,
    MultiStepLR,
    OneCycleLR,
    PolyLR,
    ReduceOnPlateauLR,
    StepLR,
)
from drivetrain.optim._momentum_schedules import (
    ConstantMomentum,
    CosineAnnealingMomentum,
    CosineRestartMomentum,
    ExponentialMomentum,
    LinearMomentum,
    MomentumSchedulerMixin,
    MultiStepMomentum,
    OneCycleMomentum,
    PolyMomentum,
    ReduceOnPlateauMomentum,
    StepMomentum,
)
from drivetrain.optim._one_cycle import OneCycleParamScheduler
from drivetrain.optim._optim_wrapper import BaseOptimWrapper, OptimWrapper
from drivetrain.optim._preview import preview
from drivetrain.optim._reduce_on_plateau import ReduceOnPlateauParamScheduler
from drivetrain.optim._scheduler import INF, _ParamScheduler
from drivetrain.optim._schedules import (
    ConstantParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    PolyParamScheduler,
    StepParamScheduler,
)
from drivetrain.optim._wrapper_dict import OptimWrapperDict

__all__ = [
    "INF",
    "AccumulationPlan",
    "AmbiguousUpdateError",
    "AmpOptimWrapper",
    "ApexOptimWrapper",
    "BaseOptimWrapper",
    "ColossalAIOptimWrapper",
    "ConstantLR",
    "ConstantMomentum",
    "ConstantParamScheduler",
    "CosineAnnealingLR",
    "CosineAnnealingMomentum",
    "CosineAnnealingParamScheduler",
    "CosineRestartLR",
    "CosineRestartMomentum",
    "CosineRestartParamScheduler",
    "DeepSpeedOptimWrapper",
    "DefaultOptimWrapperConstructor",
    "ExponentialLR",
    "ExponentialMomentum",
    "ExponentialParamScheduler",
    "LRSchedulerMixin",
    "LinearLR",
    "LinearMomentum",
    "LinearParamScheduler",
    "LossError",
    "MomentumSchedulerMixin",
    "MultiStepLR",
    "MultiStepMomentum",
    "MultiStepParamScheduler",
    "NonFiniteLossError",
    "OneCycleLR",
    "OneCycleMomentum",
    "OneCycleParamScheduler",
    "OptimArgumentError",
    "OptimDependencyError",
    "OptimError",
    "OptimStateError",
    "OptimTypeError",
    "OptimWrapper",
    "OptimWrapperDict",
    "ParamGroupKeyError",
    "ParamwiseError",
    "PolyLR",
    "PolyMomentum",
    "PolyParamScheduler",
    "ReduceOnPlateauLR",
    "ReduceOnPlateauMomentum",
    "ReduceOnPlateauParamScheduler",
    "ScheduleError",
    "StepLR",
    "StepMomentum",
    "StepParamScheduler",
    "_ParamScheduler",
    "__version__",
    "build_optim_wrapper",
    "build_param_schedulers",
    "describe",
    "preview",
]
