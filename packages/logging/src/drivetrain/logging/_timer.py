"""Stopwatches."""

from __future__ import annotations

import time
from types import TracebackType

from drivetrain.logging._errors import TimerError

_timers: dict[str, Timer] = {}


class Timer:
    """A stopwatch; as a context manager it prints the seconds that its block took.

    Args:
        start: Whether it runs from the beginning.
        print_tmpl: What to print at the end of the block, with a place for the seconds; by default
            ``"{:.3f}"``.

    Example:
        >>> with Timer(print_tmpl="took less than {:.0f} s, rounded"):
        ...     pass
        took less than 0 s, rounded
        >>> timer = Timer(start=False)
        >>> timer.is_running
        False
    """

    def __init__(self, start: bool = True, print_tmpl: str | None = None) -> None:
        self.print_tmpl = print_tmpl if print_tmpl else "{:.3f}"
        self._is_running = False
        self._started_s = 0.0
        self._checked_s = 0.0
        if start:
            self.start()

    @property
    def is_running(self) -> bool:
        """Whether the timer was started."""
        return self._is_running

    def start(self) -> None:
        """Start; a timer that runs goes on from its first start."""
        if not self._is_running:
            self._started_s = time.perf_counter()
            self._is_running = True
        self._checked_s = time.perf_counter()

    def since_start(self) -> float:
        """Return the seconds since the start.

        Raises:
            TimerError: If the timer was not started.
        """
        self._check("since_start")
        self._checked_s = time.perf_counter()
        return self._checked_s - self._started_s

    def since_last_check(self) -> float:
        """Return the seconds since the last time that somebody asked, or since the start.

        Raises:
            TimerError: If the timer was not started.
        """
        self._check("since_last_check")
        now_s = time.perf_counter()
        elapsed_s = now_s - self._checked_s
        self._checked_s = now_s
        return elapsed_s

    def _check(self, asked: str) -> None:
        if not self._is_running:
            raise TimerError(f"Timer.{asked}: the timer is not running. Call start() first.")

    def __enter__(self) -> Timer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        print(self.print_tmpl.format(self.since_last_check()))  # noqa: T201 (documented: it prints)
        self._is_running = False


def check_time(timer_id: str) -> float:
    """Return the seconds since the last call with the same ``timer_id``; 0 the first time.

    Example:
        >>> check_time("decode")
        0
        >>> check_time("decode") < 60
        True
    """
    timer = _timers.get(timer_id)
    if timer is None:
        _timers[timer_id] = Timer()
        return 0
    return timer.since_last_check()
