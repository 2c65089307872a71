"""How many samples a training gets through, and what holds it up."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from drivetrain.dataset import num_samples
from drivetrain.dist import all_reduce, get_device, get_max_memory, is_distributed
from drivetrain.registry import HOOKS
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Every ``interval_iters``, report the pace of training, waiting for data included.

    Into the message hub, and so into log lines, records and trackers:

    - ``train/samples_per_s``: samples of all ranks per second of training. Each iteration counts
      its own samples, so accumulation changes nothing; time in validations, and between epochs, is
      left out.
    - ``train/data_wait``: share of that time, from 0 to 1, in which this rank waited for its next
      batch.
    - ``train/memory_mb``: peak memory of tensors on the accelerator, else of the process; the
      largest of all ranks.

    Times are wall clock on the host; over a window they agree with an accelerator that works ahead.

    Args:
        interval_iters: Iterations of a window.

    Attributes:
        samples_seen: Samples that all ranks have trained on since the start of the run, also after
            a resume.
    """

    # Before the log line, which shows what is reported here.
    priority = "ABOVE_NORMAL"

    def __init__(self, interval_iters: int = 10) -> None:
        if not isinstance(interval_iters, int) or interval_iters < 1:
            raise ValueError(
                f"ThroughputHook: interval_iters is a number from 1 on, got {interval_iters!r}"
            )
        self.interval_iters = interval_iters
        self.samples_seen = 0
        self._end = _EndOfIteration()
        self._samples = 0
        self._opened_s: float | None = None
        self._waited_s = self._paused_s = 0.0

    def before_run(self, runner: Engine) -> None:
        """Let the end of an iteration be noticed too, after all other hooks."""
        if self._end not in runner.hooks:
            runner.register_hook(self._end)

    def before_train(self, runner: Engine) -> None:
        """Begin to count: what ran before a resume says nothing about this machine's pace."""
        self._end.at_s = None
        self._opened_s = None

    def before_train_epoch(self, runner: Engine) -> None:
        """Training goes on, and now waits for its first batch."""
        self._go_on()

    def after_val(self, runner: Engine) -> None:
        """Training goes on behind a validation."""
        if runner.is_training:
            self._go_on()

    def _go_on(self) -> None:
        now_s = perf_counter()
        if self._opened_s is None:
            self._open_window(now_s)
        elif self._end.at_s is not None:
            self._paused_s += now_s - self._end.at_s
        self._end.at_s = now_s

    def before_train_iter(self, runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
        """The batch is here; what passed since the end of the last iteration was waiting for it."""
        if self._end.at_s is not None:
            self._waited_s += perf_counter() - self._end.at_s

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Count, and report if it is time."""
        self._samples += num_samples(data_batch)
        if (runner.iter + 1) % self.interval_iters == 0 and self._opened_s is not None:
            now_s = perf_counter()
            self._report(runner, now_s - self._opened_s - self._paused_s)
            self._open_window(now_s)

    def _report(self, runner: Engine, elapsed_s: float) -> None:
        samples, memory_mb = _over_ranks(self._samples, peak_memory_mb())
        self.samples_seen += samples
        runner.message_hub.update_scalars(
            {
                "train/samples_per_s": samples / elapsed_s,
                "train/data_wait": min(self._waited_s / elapsed_s, 1.0),
                "train/memory_mb": memory_mb,
            }
        )

    def _open_window(self, now_s: float) -> None:
        self._opened_s = now_s
        self._samples = 0
        self._waited_s = self._paused_s = 0.0

    def state_dict(self) -> dict[str, Any]:
        """How many samples of all ranks were reported."""
        return {"samples_seen": self.samples_seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self.samples_seen = state["samples_seen"]


class _EndOfIteration(Hook):
    """Knows when all hooks of an iteration are through: a checkpoint is no waiting for data."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.at_s: float | None = None

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Look at the clock."""
        self.at_s = perf_counter()


def peak_memory_mb() -> int:
    """Peak memory of tensors on the accelerator; without one, of this process; in megabytes."""
    if get_device() != "cpu":
        return get_max_memory()
    try:
        import resource  # POSIX only
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 * 1024 if sys.platform == "darwin" else 1024)


def _over_ranks(samples: int, memory_mb: int) -> tuple[int, int]:
    """The sum of the samples, and the largest memory."""
    if not is_distributed():
        return samples, memory_mb
    total, largest = torch.tensor(samples), torch.tensor(memory_mb)
    all_reduce(total, op="sum")
    all_reduce(largest, op="max")
    return int(total), int(largest)
