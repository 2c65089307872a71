"""Recording where the time of a training goes on an Ascend NPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

from drivetrain.dist import is_npu_available
from drivetrain.fileio import mkdir_or_exist
from drivetrain.registry import HOOKS
from drivetrain.runner._errors import RunnerConfigError
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class NPUProfilerHook(Hook):
    """Profile iterations of a training on an Ascend NPU, with the profiler of ``torch_npu``.

    Args:
        begin: Number of the first iteration to record, from 0 on.
        end: Number of the first iteration not to record.
        result_path: Folder of the results.
        exit_after_profiling: End the process with the recording.
        use_e2e_profiler: Record the framework and the device together.
        ge_profiling_to_std_out: Print what the graph engine records.

    Raises:
        ValueError: If ``begin`` is not before ``end``.
        RunnerConfigError: Before a training, if there is no NPU or no ``torch_npu``.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        *,
        begin: int = 0,
        end: int = 1,
        result_path: str = "cann_profiling",
        exit_after_profiling: bool = True,
        use_e2e_profiler: bool = False,
        ge_profiling_to_std_out: bool = False,
    ) -> None:
        if not 0 <= begin < end:
            raise ValueError(
                "NPUProfilerHook: begin lies before end, and counts from 0, "
                f"got begin={begin}, end={end}"
            )
        self.begin = begin
        self.end = end
        self.result_path = result_path
        self.exit_after_profiling = exit_after_profiling
        self.use_e2e_profiler = use_e2e_profiler
        self.ge_profiling_to_std_out = ge_profiling_to_std_out
        self.profiler: Any = None

    def before_run(self, runner: Engine) -> None:
        """Look for the device and its profiler, and whether the training is long enough."""
        if not is_npu_available():
            raise RunnerConfigError(
                "NPUProfilerHook needs an Ascend NPU and torch_npu, and here is none.\n"
                "  Elsewhere:  ProfilerHook records CPUs and CUDA devices."
            )
        if runner.has_train_loop and self.end > runner.max_iters:
            raise RunnerConfigError(
                f"NPUProfilerHook: end={self.end}, but the training has {runner.max_iters} "
                "iterations"
            )
        if self.ge_profiling_to_std_out:
            os.environ["GE_PROFILING_TO_STD_OUT"] = "1"
        mkdir_or_exist(self.result_path)

    def before_train_iter(self, runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
        """Start to record."""
        if runner.iter == self.begin:
            npu = torch.npu  # type: ignore[attr-defined]  # torch_npu brings it
            self.profiler = npu.profile(self.result_path, use_e2e_profiler=self.use_e2e_profiler)
            self.profiler.__enter__()
            runner.logger.info("The NPU profiler is on.")

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """End the recording."""
        if self.profiler is not None and runner.iter == self.end - 1:
            self.profiler.__exit__(None, None, None)
            self.profiler = None
            runner.logger.info(f"The NPU profiler is off; its results are in {self.result_path}.")
            if self.exit_after_profiling:
                raise SystemExit(0)
