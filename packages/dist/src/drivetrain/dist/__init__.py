"""Devices, processes, precision and randomness, the same for one process and for many."""

from drivetrain.dist.__about__ import __version__
from drivetrain.dist._agreement import check_agreement, check_same_code, check_same_settings
from drivetrain.dist._anomalous import detect_anomalous_params
from drivetrain.dist._autocast import autocast, needs_grad_scaler
from drivetrain.dist._collect import collect_results, collect_results_cpu, collect_results_gpu
from drivetrain.dist._collectives import (
    all_gather,
    all_reduce,
    all_reduce_dict,
    all_reduce_params,
    broadcast,
    gather,
)
from drivetrain.dist._data_share import get_data_share
from drivetrain.dist._ddp import MMDistributedDataParallel, is_model_wrapper
from drivetrain.dist._device import (
    get_device,
    get_max_cuda_memory,
    get_max_memory,
    get_max_musa_memory,
    is_cuda_available,
    is_mlu_available,
    is_mps_available,
    is_musa_available,
    is_npu_available,
    is_xpu_available,
    reset_peak_memory,
)
from drivetrain.dist._engine_wrappers import ColossalAIModelWrapper, MMDeepSpeedEngineWrapper
from drivetrain.dist._environment import collect_env, set_multi_processing
from drivetrain.dist._errors import (
    BackendError,
    DataMismatchError,
    DistError,
    GroupError,
    LauncherError,
    RankFailedError,
    StrategyConfigError,
    StrategyError,
    UnusedParametersError,
    WorkDirError,
    WrapperError,
)
from drivetrain.dist._failure import consequence_line, record_failure
from drivetrain.dist._group import (
    barrier,
    get_backend,
    get_default_group,
    get_dist_info,
    get_local_group,
    get_local_rank,
    get_local_size,
    get_rank,
    get_world_size,
    init_local_group,
    is_distributed,
    is_main_process,
    master_only,
)
from drivetrain.dist._heartbeat import beat, pause_watch
from drivetrain.dist._launch import launch
from drivetrain.dist._launcher import infer_launcher
from drivetrain.dist._objects import (
    all_gather_object,
    broadcast_object,
    broadcast_object_list,
    gather_object,
    run_on_all,
    run_on_main,
)
from drivetrain.dist._portable_batchnorm import PortableSyncBatchNorm
from drivetrain.dist._process_group import init_dist, leave_dist
from drivetrain.dist._randomness import (
    load_random_state_dict,
    random_state_dict,
    set_random_seed,
    sync_random_seed,
)
from drivetrain.dist._separate_ddp import MMSeparateDistributedDataParallel
from drivetrain.dist._sync_batchnorm import (
    _BatchNormXd,
    convert_sync_batchnorm,
    revert_sync_batchnorm,
)
from drivetrain.dist._transfer import cast_data_device, get_comm_device, get_data_device

__all__ = [
    "BackendError",
    "ColossalAIModelWrapper",
    "DataMismatchError",
    "DistError",
    "GroupError",
    "LauncherError",
    "MMDeepSpeedEngineWrapper",
    "MMDistributedDataParallel",
    "MMSeparateDistributedDataParallel",
    "PortableSyncBatchNorm",
    "RankFailedError",
    "StrategyConfigError",
    "StrategyError",
    "UnusedParametersError",
    "WorkDirError",
    "WrapperError",
    "_BatchNormXd",
    "__version__",
    "all_gather",
    "all_gather_object",
    "all_reduce",
    "all_reduce_dict",
    "all_reduce_params",
    "autocast",
    "barrier",
    "beat",
    "broadcast",
    "broadcast_object",
    "broadcast_object_list",
    "cast_data_device",
    "check_agreement",
    "check_same_code",
    "check_same_settings",
    "collect_env",
    "collect_results",
    "collect_results_cpu",
    "collect_results_gpu",
    "consequence_line",
    "convert_sync_batchnorm",
    "detect_anomalous_params",
    "gather",
    "gather_object",
    "get_backend",
    "get_comm_device",
    "get_data_device",
    "get_data_share",
    "get_default_group",
    "get_device",
    "get_dist_info",
    "get_local_group",
    "get_local_rank",
    "get_local_size",
    "get_max_cuda_memory",
    "get_max_memory",
    "get_max_musa_memory",
    "get_rank",
    "get_world_size",
    "infer_launcher",
    "init_dist",
    "init_local_group",
    "is_cuda_available",
    "is_distributed",
    "is_main_process",
    "is_mlu_available",
    "is_model_wrapper",
    "is_mps_available",
    "is_musa_available",
    "is_npu_available",
    "is_xpu_available",
    "launch",
    "leave_dist",
    "load_random_state_dict",
    "master_only",
    "needs_grad_scaler",
    "pause_watch",
    "random_state_dict",
    "record_failure",
    "reset_peak_memory",
    "revert_sync_batchnorm",
    "run_on_all",
    "run_on_main",
    "set_multi_processing",
    "set_random_seed",
    "sync_random_seed",
]
