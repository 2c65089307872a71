"""Registries of components, built from config nodes and found through entry points."""

import importlib

from drivetrain.registry.__about__ import __version__
from drivetrain.registry._build import (
    build_from_cfg,
    build_model_from_cfg,
    build_runner_from_cfg,
    build_scheduler_from_cfg,
)
from drivetrain.registry._building import building, current_path
from drivetrain.registry._check import Problem, Report, Root, check
from drivetrain.registry._contract import CONTRACT_VERSION
from drivetrain.registry._errors import (
    CheckError,
    ComponentArgumentError,
    ComponentBuildError,
    ContractError,
    DuplicateNameError,
    InstanceError,
    MissingPrerequisiteError,
    MissingTypeError,
    NodeError,
    RegistrationError,
    RegistryError,
    UnknownComponentError,
    UsageError,
)
from drivetrain.registry._manager import ManagerMeta, ManagerMixin
from drivetrain.registry._registry import Registry
from drivetrain.registry._roots import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    FUNCTIONS,
    HOOKS,
    INFERENCERS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODEL_WRAPPERS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    RUNNER_CONSTRUCTORS,
    RUNNERS,
    STRATEGIES,
    TASK_UTILS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
    WEIGHT_INITIALIZERS,
)
from drivetrain.registry._scope import DefaultScope, init_default_scope
from drivetrain.registry._tree import count_registered_modules, traverse_registry_tree

__all__ = [
    "CONTRACT_VERSION",
    "DATASETS",
    "DATA_SAMPLERS",
    "EVALUATOR",
    "FUNCTIONS",
    "HOOKS",
    "INFERENCERS",
    "LOG_PROCESSORS",
    "LOOPS",
    "METRICS",
    "MODELS",
    "MODEL_WRAPPERS",
    "OPTIMIZERS",
    "OPTIM_WRAPPERS",
    "OPTIM_WRAPPER_CONSTRUCTORS",
    "PARAM_SCHEDULERS",
    "RUNNERS",
    "RUNNER_CONSTRUCTORS",
    "STRATEGIES",
    "TASK_UTILS",
    "TRANSFORMS",
    "VISBACKENDS",
    "VISUALIZERS",
    "WEIGHT_INITIALIZERS",
    "CheckError",
    "ComponentArgumentError",
    "ComponentBuildError",
    "ContractError",
    "DefaultScope",
    "DuplicateNameError",
    "InstanceError",
    "ManagerMeta",
    "ManagerMixin",
    "MissingPrerequisiteError",
    "MissingTypeError",
    "NodeError",
    "Problem",
    "RegistrationError",
    "Registry",
    "RegistryError",
    "Report",
    "Root",
    "UnknownComponentError",
    "UsageError",
    "__version__",
    "build_from_cfg",
    "build_model_from_cfg",
    "build_runner_from_cfg",
    "build_scheduler_from_cfg",
    "building",
    "call_command",
    "check",
    "check_prerequisites",
    "count_registered_modules",
    "current_path",
    "deprecated_api_warning",
    "deprecated_function",
    "digit_version",
    "get_installed_path",
    "get_object_from_string",
    "has_method",
    "import_modules_from_strings",
    "init_default_scope",
    "install_package",
    "is_installed",
    "is_method_overridden",
    "mmcv_full_available",
    "package2module",
    "requires_executable",
    "requires_package",
    "traverse_registry_tree",
]

# Not needed to register and build, and slow to import (importlib.metadata, subprocess): fetched at
# the first use.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from drivetrain.registry._installed import (
        call_command,
        check_prerequisites,
        deprecated_api_warning,
        deprecated_function,
        digit_version,
        get_installed_path,
        install_package,
        is_installed,
        mmcv_full_available,
        package2module,
        requires_executable,
        requires_package,
    )
    from drivetrain.registry._lookup import (
        get_object_from_string,
        has_method,
        import_modules_from_strings,
        is_method_overridden,
    )
del TYPE_CHECKING

_ON_DEMAND = {
    "call_command": "drivetrain.registry._installed",
    "check_prerequisites": "drivetrain.registry._installed",
    "deprecated_api_warning": "drivetrain.registry._installed",
    "deprecated_function": "drivetrain.registry._installed",
    "digit_version": "drivetrain.registry._installed",
    "get_installed_path": "drivetrain.registry._installed",
    "get_object_from_string": "drivetrain.registry._lookup",
    "has_method": "drivetrain.registry._lookup",
    "import_modules_from_strings": "drivetrain.registry._lookup",
    "install_package": "drivetrain.registry._installed",
    "is_installed": "drivetrain.registry._installed",
    "is_method_overridden": "drivetrain.registry._lookup",
    "mmcv_full_available": "drivetrain.registry._installed",
    "package2module": "drivetrain.registry._installed",
    "requires_executable": "drivetrain.registry._installed",
    "requires_package": "drivetrain.registry._installed",
}


def __getattr__(name: str) -> object:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_ON_DEMAND[name]), name)
    globals()[name] = value
    return value
