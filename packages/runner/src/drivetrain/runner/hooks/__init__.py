"""Hooks: things to do at points of a run, without touching its loops."""

from drivetrain.runner.hooks._cache import EmptyCacheHook
from drivetrain.runner.hooks._checkpoint import CheckpointHook
from drivetrain.runner.hooks._early_stopping import EarlyStoppingHook
from drivetrain.runner.hooks._ema import EMAHook
from drivetrain.runner.hooks._hook import Hook
from drivetrain.runner.hooks._interrupt import InterruptHook, PreemptionHook
from drivetrain.runner.hooks._iter_timer import IterTimerHook
from drivetrain.runner.hooks._logger import LoggerHook
from drivetrain.runner.hooks._nan_watch import NaNWatchHook
from drivetrain.runner.hooks._non_finite import NonFiniteSource
from drivetrain.runner.hooks._npu_profiler import NPUProfilerHook
from drivetrain.runner.hooks._param_scheduler import ParamSchedulerHook
from drivetrain.runner.hooks._profiler import ProfilerHook
from drivetrain.runner.hooks._progress import ProgressHook
from drivetrain.runner.hooks._replay import replay_step
from drivetrain.runner.hooks._runtime_info import RuntimeInfoHook
from drivetrain.runner.hooks._sampler_seed import DistSamplerSeedHook
from drivetrain.runner.hooks._sync_buffers import SyncBuffersHook
from drivetrain.runner.hooks._throughput import ThroughputHook
from drivetrain.runner.hooks._tta import PrepareTTAHook
from drivetrain.runner.hooks._visualization import NaiveVisualizationHook

__all__ = [
    "CheckpointHook",
    "DistSamplerSeedHook",
    "EMAHook",
    "EarlyStoppingHook",
    "EmptyCacheHook",
    "Hook",
    "InterruptHook",
    "IterTimerHook",
    "LoggerHook",
    "NPUProfilerHook",
    "NaNWatchHook",
    "NaiveVisualizationHook",
    "NonFiniteSource",
    "ParamSchedulerHook",
    "PreemptionHook",
    "PrepareTTAHook",
    "ProfilerHook",
    "ProgressHook",
    "RuntimeInfoHook",
    "SyncBuffersHook",
    "ThroughputHook",
    "replay_step",
]
