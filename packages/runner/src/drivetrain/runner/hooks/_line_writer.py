"""Writing log lines and records; those that follow each other quickly, several at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from drivetrain.logging import MMLogger, hold_back, release
from drivetrain.runner._as_written import as_written, keeps
from drivetrain.runner._log_processor import LogProcessor, Mode, Moment, Record
from drivetrain.visualization import Visualizer

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine

#: Seconds for which lines wait for each other at most: nobody reads more than five in a second.
TOGETHER_S = 0.2

_LINES = as_written(LogProcessor, "get_log_after_iter")
_INFO = as_written(MMLogger, "info")
_RECORDS = as_written(Visualizer, "add_scalars")


class LineWriter:
    """Makes lines of a run, and writes them to its log and its trackers.

    A line is written at once if the last ones were written 0.2 s ago or more. Otherwise it waits
    until that is over, or until anything else is logged or recorded, or iterations pause (an epoch
    ends, a checkpoint is saved, an error ends the run). What it says, its time included, is what it
    would have said at once. Making and writing several at a time costs less: each piece of code has
    to be brought into the caches of the processor only once.

    Attributes:
        is_holding: Whether lines wait.
        write_at_s: Until when, by ``perf_counter``.
    """

    def __init__(self) -> None:
        self._runner: Any = None
        self._records_to: str | None = None
        self._lines: list[tuple[float, str]] = []
        self._records: list[Record] = []
        self.write_at_s = 0.0
        self.is_holding = False
        self._has_warned = False

    def bind(
        self,
        runner: Engine,
        mode: Mode,
        clock: Callable[[], dict[str, float]] | None = None,
        records_to: str | None = None,
    ) -> Callable[[int], None]:
        """A function that writes, now or soon, the line of an iteration; of a training its record.

        It takes the index of the batch within its epoch.

        Args:
            runner: The runner.
            mode: The stage.
            clock: Asked what else the record says of the moment.
            records_to: Name of a file for the records of the training.
        """
        self._runner = runner
        self._records_to = records_to or self._records_to
        log_processor = runner.log_processor
        is_plain = type(log_processor) is LogProcessor and keeps(log_processor, _LINES)
        if not is_plain or log_processor.custom_cfg:
            # Somebody's own figures may depend on anything: at once.
            return partial(self._write_at_once, mode, clock)
        moment_of, now_s = log_processor.moments(runner, mode), time.time
        call_in_order = runner.message_hub.call_in_order
        # All ranks take their means at one and the same iteration: then the line is made now.
        is_shared = mode == "train" and runner.distributed

        def write(batch_idx: int) -> None:
            figures = None if clock is None else clock()
            make = partial(self._make, moment_of(batch_idx), figures, now_s(), is_shared)
            make() if is_shared else call_in_order(make)
            if perf_counter() >= self.write_at_s or not (self.is_holding or self._hold()):
                self.flush()

        return write

    def _write_at_once(
        self, mode: Mode, clock: Callable[[], dict[str, float]] | None, batch_idx: int
    ) -> None:
        runner = self._runner
        record, line = runner.log_processor.get_log_after_iter(runner, batch_idx, mode)
        runner.logger.info(line)
        if mode == "train":
            self._record({"mode": mode, **record, **(clock() if clock else {})})

    def _hold(self) -> bool:
        """Let lines wait from now on, unless somebody else looks at when they come."""
        runner = self._runner
        if _is_plain(runner):
            self.is_holding = True
            hold_back(self.flush)
        return self.is_holding

    def flush(self) -> None:
        """Write what waits."""
        self.is_holding = False
        release()  # what another one holds back was logged before
        self._runner.message_hub.settle()  # makes the lines whose turn has not come yet
        if not self._lines:
            return
        lines, self._lines = self._lines, []
        records, self._records = self._records, []
        if _is_plain(self._runner):
            self._runner.logger.info_lines(lines)
        else:
            for _, line in lines:
                self._runner.logger.info(line)
        for record in records:
            self._record(record)
        self.write_at_s = perf_counter() + TOGETHER_S

    def _make(
        self, moment: Moment, clock: dict[str, float] | None, now_s: float, over_ranks: bool
    ) -> None:
        runner = self._runner
        record, line = runner.log_processor.log_at(moment, runner, over_ranks=over_ranks)
        self._lines.append((now_s, line))
        if moment.mode == "train":
            self._records.append({"mode": "train", **record, **(clock or {})})

    def _record(self, record: Record) -> None:
        runner = self._runner
        runner.visualizer.add_scalars(record, step=record["iter"], file_path=self._records_to)
        if not self._has_warned:
            self._look_for_non_finite(record)

    def _look_for_non_finite(self, record: Record) -> None:
        """Say once, and loudly, that a loss of a line is no number; the line has read it anyway."""
        losses = {k: v for k, v in record.items() if "loss" in k and isinstance(v, float)}
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad:
            self._has_warned = True
            self._runner.logger.error(
                f"{', '.join(bad)} at iteration {record['iter']}, or shortly before: nan or inf. "
                "NaNWatchHook (in custom_hooks) finds the step, the module and the batch."
            )


def _is_plain(runner: Engine) -> bool:
    """Whether nobody else looks at when lines and records come: log and trackers are ours."""
    logger, visualizer = runner.logger, runner.visualizer
    return (
        type(logger) is MMLogger
        and keeps(logger, _INFO)
        and logger.takes_lines
        and not logger.filters
        and isinstance(visualizer, Visualizer)
        and keeps(visualizer, _RECORDS)
    )
