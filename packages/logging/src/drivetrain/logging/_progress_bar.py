"""A progress bar of plain characters, for scripts: it needs no terminal features."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

from drivetrain.logging._errors import TimerError
from drivetrain.logging._timer import Timer


class ProgressBar:
    """Show how many tasks are done, how fast, and how long the rest will take.

    Args:
        task_num: How many tasks there are; 0 if nobody knows.
        bar_width: Width of the bar in characters, where the terminal has room for it.
        start: Whether the clock runs from now on; else call ``start``.
        file: Where to write; what ``sys.stdout`` is at that moment by default.

    Example:
        >>> bar = ProgressBar(3, bar_width=6)  # doctest: +ELLIPSIS
        [      ] 0/3, elapsed: 0s, ETA:
        >>> bar.completed
        0
    """

    def __init__(
        self,
        task_num: int = 0,
        bar_width: int = 50,
        start: bool = True,
        file: TextIO | None = None,
    ) -> None:
        self.task_num = task_num
        self.bar_width = bar_width
        self.completed = 0
        self.timer = Timer(start=False)
        self._file = file
        if start:
            self.start()

    @property
    def file(self) -> TextIO:
        """Where the bar is written."""
        return sys.stdout if self._file is None else self._file

    @property
    def terminal_width(self) -> int:
        """Width of the terminal in characters."""
        return shutil.get_terminal_size().columns

    def start(self) -> None:
        """Show the empty bar, and start the clock."""
        if self.task_num > 0:
            self._write(f"[{' ' * self.bar_width}] 0/{self.task_num}, elapsed: 0s, ETA:")
        else:
            self._write("completed: 0, elapsed: 0s")
        self.timer = Timer()

    def update(self, num_tasks: int = 1) -> None:
        """Count tasks as done, and show it.

        Args:
            num_tasks: How many; at least 1.

        Raises:
            ValueError: If ``num_tasks`` is below 1.
            TimerError: If the bar was not started.
        """
        if num_tasks < 1:
            raise ValueError(f"ProgressBar.update: num_tasks must be at least 1, got {num_tasks}")
        if not self.timer.is_running:
            raise TimerError("ProgressBar.update: the bar was not started. Call start() first.")
        self.completed += num_tasks
        elapsed_s = self.timer.since_start()
        per_s = self.completed / elapsed_s if elapsed_s > 0 else float("inf")
        if self.task_num <= 0:
            self._write(
                f"completed: {self.completed}, elapsed: {elapsed_s:.0f}s, {per_s:.1f} tasks/s"
            )
            return
        share = min(self.completed / self.task_num, 1.0)
        left_s = elapsed_s * (1 - share) / share
        text = (
            f" {self.completed}/{self.task_num}, {per_s:.1f} task/s, "
            f"elapsed: {elapsed_s:.0f}s, ETA: {left_s:5.0f}s"
        )
        width = min(self.bar_width, max(self.terminal_width - len(text) - 2, 10))
        done = int(width * share)
        self._write(f"\r[{'>' * done}{' ' * (width - done)}]{text}")

    def _write(self, text: str) -> None:
        self.file.write(text)
        self.file.flush()
