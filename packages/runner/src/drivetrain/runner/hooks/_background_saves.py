"""Saves that go on while training does, and what all ranks know of them."""

from __future__ import annotations

import contextlib
import logging

from drivetrain.checkpoint import AsyncCheckpointWriter, CheckpointFolder
from drivetrain.dist import all_gather_object, is_distributed, run_on_all


class BackgroundSaves:
    """One save at a time in the background; a failure on one rank is raised on all.

    Ranks ask one another only while a save is being written, every ``agree_every_iters`` steps, so
    that all raise at the same step border. A single process looks at every one.

    Args:
        folder: Where checkpoints go.
        agree_every_iters: Steps between two questions.
    """

    def __init__(self, folder: CheckpointFolder, agree_every_iters: int = 10) -> None:
        self.writer = AsyncCheckpointWriter(folder)
        self._agree_every_iters = agree_every_iters
        self._is_open = False  # whether a save was started whose end the ranks have not seen
        self._postponed: Exception | None = None

    def started(self) -> None:
        """Take note that all ranks have started a save."""
        self._is_open = True

    def check(self, iteration: int) -> None:
        """Raise what a save raised, at a step border; waits for no disk.

        Args:
            iteration: The step's number, the same on all ranks.
        """
        if not self._is_open or (is_distributed() and iteration % self._agree_every_iters):
            return
        if self._postponed is not None:
            self.wait()
        in_flight = any(all_gather_object(self.writer.in_flight))
        run_on_all(self.writer.check)
        self._is_open = in_flight

    def wait(self) -> None:
        """Wait until everything is on the disk, and raise what a save raised."""
        if not self._is_open:
            return
        self._is_open = False
        postponed, self._postponed = self._postponed, None
        if postponed is not None:
            raise postponed
        run_on_all(self.writer.wait)

    def close(self) -> None:
        """Wait for the save of this rank, whatever the others do; its failure was logged."""
        with contextlib.suppress(Exception):
            self.writer.wait()

    def make_way(self, logger: logging.Logger) -> None:
        """Wait for the save in the background, as somebody is about to write another one.

        Its failure must not cost that other one: it is raised at the next step border.
        """
        try:
            self.wait()
        except Exception as err:
            logger.error(f"A background save failed: {err}")
            self._postponed, self._is_open = err, True
