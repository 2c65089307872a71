"""Recording with PyTorch's profiler where the time of a training goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from drivetrain.dist import is_main_process
from drivetrain.registry import HOOKS
from drivetrain.runner._errors import RunnerConfigError
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine

_TRACE_KINDS = ("log_trace", "tb_trace")


@HOOKS.register_module()
class ProfilerHook(Hook):
    """Profile the first epochs or iterations of a training; ``torch.profiler`` with a config.

    Args:
        by_epoch: Count ``profile_times`` in epochs, not iterations.
        profile_times: Epochs or iterations to profile, from the start of the training.
        activity_with_cpu: Record what the CPU does.
        activity_with_cuda: Record what the CUDA devices do.
        schedule: Arguments of ``torch.profiler.schedule`` (``wait``, ``warmup``, ``active``,
            ``repeat``…); None records every step. Steps are iterations, or epochs (``by_epoch``).
        on_trace_ready: What to do with a recording: a function of the profiler; or a dict with
            ``type="log_trace"`` (a table into the log; further keys are those of
            ``key_averages().table``, such as ``sort_by`` and ``row_limit``) or
            ``type="tb_trace"`` (files for TensorBoard's profiler; ``dir_name``, by default
            ``<log_dir>/tf_tracing_logs``, ``worker_name`` and ``use_gzip``). None does nothing.
        record_shapes: Record the shapes of inputs.
        profile_memory: Record memory.
        with_stack: Record file and line of each operation.
        with_flops: Estimate floating-point operations.
        json_trace_path: File for the recording in Chrome's format, written at the end.

    Raises:
        ValueError: If no activity is to be recorded, or an option makes no sense.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        *,
        by_epoch: bool = True,
        profile_times: int = 1,
        activity_with_cpu: bool = True,
        activity_with_cuda: bool = False,
        schedule: Mapping[str, Any] | None = None,
        on_trace_ready: Callable[[Any], None] | Mapping[str, Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        json_trace_path: str | Path | None = None,
    ) -> None:
        if not isinstance(by_epoch, bool):
            raise TypeError(f"ProfilerHook: by_epoch is a bool, got {by_epoch!r}")
        if not isinstance(profile_times, int) or profile_times < 1:
            raise ValueError(
                f"ProfilerHook: profile_times is a number from 1 on, got {profile_times!r}"
            )
        if not activity_with_cpu and not activity_with_cuda:
            raise ValueError(
                "ProfilerHook: nothing to record; set activity_with_cpu or activity_with_cuda"
            )
        self.by_epoch = by_epoch
        self.profile_times = profile_times
        self.activity_with_cpu = activity_with_cpu
        self.activity_with_cuda = activity_with_cuda
        self.schedule = None if schedule is None else torch.profiler.schedule(**schedule)
        self.on_trace_ready = _checked(on_trace_ready)
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.with_flops = with_flops
        self.json_trace_path = None if json_trace_path is None else str(json_trace_path)
        self.profiler: Any = None
        self._closed = True
        self._steps = 0

    def before_run(self, runner: Engine) -> None:
        """Refuse what would never end."""
        if not runner.has_train_loop:
            return
        unit, last = (
            ("epochs", runner.max_epochs) if self.by_epoch else ("iterations", runner.max_iters)
        )
        if self.profile_times > last:
            raise RunnerConfigError(
                f"ProfilerHook: profile_times={self.profile_times} {unit}, "
                f"but the training has {last}"
            )

    def before_train(self, runner: Engine) -> None:
        """Start to record."""
        self._steps = 0
        self.profiler = torch.profiler.profile(
            activities=self._activities(runner),
            schedule=self.schedule,
            on_trace_ready=self._parse_trace_config(runner),
            record_shapes=self.record_shapes,
            profile_memory=self.profile_memory,
            with_stack=self.with_stack,
            with_flops=self.with_flops,
        )
        self.profiler.__enter__()
        self._closed = False
        runner.logger.info("The profiler is on.")

    def after_train_epoch(self, runner: Engine) -> None:
        """Count an epoch, if epochs are counted."""
        if self.by_epoch:
            self._step(runner)

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Count an iteration, if iterations are counted."""
        if not self._closed and not self.by_epoch:
            self._step(runner)

    def after_train(self, runner: Engine) -> None:
        """End a recording that an early stop has cut short."""
        self._end(runner)

    def close(self) -> None:
        """Switch the profiler off; also right after an error."""
        if not self._closed:
            self._closed = True
            self.profiler.__exit__(None, None, None)

    def _step(self, runner: Engine) -> None:
        if self._closed:
            return
        self._steps += 1
        if self._steps >= self.profile_times:
            self._end(runner)
        else:
            self.profiler.step()

    def _end(self, runner: Engine) -> None:
        if self._closed:
            return
        self.close()
        runner.logger.info(f"The profiler is off after {self._steps} steps.")
        if self.json_trace_path is not None and is_main_process():
            Path(self.json_trace_path).parent.mkdir(parents=True, exist_ok=True)
            self.profiler.export_chrome_trace(self.json_trace_path)

    def _activities(self, runner: Engine) -> list[Any]:
        kinds = torch.profiler.ProfilerActivity
        activities = [kinds.CPU] if self.activity_with_cpu else []
        if self.activity_with_cuda and torch.cuda.is_available():
            activities.append(kinds.CUDA)
        elif self.activity_with_cuda:
            text = "ProfilerHook: activity_with_cuda, but there is no CUDA device"
            if not activities:
                raise RunnerConfigError(f"{text}, and nothing else is to be recorded")
            runner.logger.warning(f"{text}; only the CPU is recorded.")
        return activities

    def _parse_trace_config(self, runner: Engine) -> Callable[[Any], None] | None:
        """The function that gets each recording."""
        config = self.on_trace_ready
        if config is None or callable(config):
            return config
        options = dict(config)
        kind = options.pop("type")
        if kind == "log_trace":
            options = {"sort_by": "self_cpu_time_total", "row_limit": -1, **options}
            return lambda profiler: runner.logger.info(
                f"Profile:\n{profiler.key_averages().table(**options)}"
            )
        folder = options.pop("dir_name", None) or str(Path(runner.log_dir) / "tf_tracing_logs")
        return torch.profiler.tensorboard_trace_handler(folder, **options)


def _checked(config: Any) -> Any:
    """``on_trace_ready``, if it makes sense."""
    if config is None or callable(config):
        return config
    if not isinstance(config, Mapping) or config.get("type") not in _TRACE_KINDS:
        raise ValueError(
            "ProfilerHook: on_trace_ready is a function, or a dict with type "
            f"{' or '.join(map(repr, _TRACE_KINDS))}, got {config!r}"
        )
    if config["type"] == "log_trace":
        return config
    unknown = set(config) - {"type", "dir_name", "worker_name", "use_gzip"}
    if unknown:
        raise ValueError(
            f"ProfilerHook: on_trace_ready of type 'tb_trace' takes dir_name, worker_name and "
            f"use_gzip, got {', '.join(sorted(unknown))}"
        )
    return config
