"""How long a function, or a block, takes on average."""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from drivetrain.logging._errors import TimerError
from drivetrain.logging._logger import print_log

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class TimeCounter:
    """Measures a function (as a decorator) or a block (``with``), and logs the mean time of a run.

    Counters of one ``tag`` are one counter, so that a block inside a loop adds up.

    Args:
        log_interval: Runs between two lines.
        warmup_interval: The run from which on times count; the ones before are slower.
        with_sync: Wait for the accelerator at the beginning and the end of each run.
        tag: Name in the line; by default that of the function.
        logger: Where lines go; by default they are printed.

    Raises:
        TimerError: If an interval is below 1, or a block has no ``tag``.

    Example:
        >>> @TimeCounter(log_interval=2, with_sync=False, tag="nothing")
        ... def work():
        ...     pass
        >>> work()
        >>> work()  # doctest: +ELLIPSIS
        [nothing]-time per run averaged in the past 2 runs: ... ms
    """

    instance_dict: ClassVar[dict[str, TimeCounter]] = {}

    log_interval: int
    warmup_interval: int
    with_sync: bool
    tag: str | None
    logger: logging.Logger | None

    def __new__(
        cls,
        log_interval: int = 1,
        warmup_interval: int = 1,
        with_sync: bool = True,
        tag: str | None = None,
        logger: logging.Logger | None = None,
    ) -> TimeCounter:
        """The counter of ``tag``, or a new one."""
        if tag is not None and tag in cls.instance_dict:
            return cls.instance_dict[tag]
        for name, value in (("log_interval", log_interval), ("warmup_interval", warmup_interval)):
            if value < 1:
                raise TimerError(f"TimeCounter: {name} is at least 1, got {value}")
        counter = super().__new__(cls)
        counter.log_interval = log_interval
        counter.warmup_interval = warmup_interval
        counter.with_sync = with_sync
        counter.tag = tag
        counter.logger = logger
        counter._count = 0
        counter._sum_s = 0.0
        counter._started_s = 0.0
        if tag is not None:
            cls.instance_dict[tag] = counter
        return counter

    _count: int
    _sum_s: float
    _started_s: float

    def __call__(self, function: FunctionT) -> FunctionT:
        """Measure each run of ``function``."""
        if self.tag is None:
            self.tag = function.__name__
            self.instance_dict[self.tag] = self

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            started_s = self._now_s()
            result = function(*args, **kwargs)
            self.print_time(self._now_s() - started_s)
            return result

        return measured  # type: ignore[return-value]  # same signature

    def __enter__(self) -> TimeCounter:
        if self.tag is None:
            raise TimerError("TimeCounter: a block needs a tag: TimeCounter(tag='name')")
        self._started_s = self._now_s()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.print_time(self._now_s() - self._started_s)

    def _now_s(self) -> float:
        if self.with_sync:
            _wait_for_device()
        return time.perf_counter()

    def print_time(self, elapsed: float) -> None:
        """Count a run of ``elapsed`` seconds, and log the mean if it is time."""
        self._count += 1
        if self._count < self.warmup_interval:
            return
        self._sum_s += elapsed
        if self._count % self.log_interval == 0:
            mean_ms = 1000 * self._sum_s / (self._count - self.warmup_interval + 1)
            print_log(
                f"[{self.tag}]-time per run averaged in the past {self._count} runs: "
                f"{mean_ms:.1f} ms",
                self.logger,
            )


def _wait_for_device() -> None:
    torch = sys.modules.get("torch")  # work on a device can only be there where torch is
    if torch is not None and torch.accelerator.is_available():
        torch.accelerator.synchronize()
