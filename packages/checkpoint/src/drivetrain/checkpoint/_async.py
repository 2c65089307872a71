"""Save in the background: training waits for a copy of the state, not for the disk."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from drivetrain.checkpoint._compact import without_unused_memory
from drivetrain.checkpoint._folder import CheckpointFolder
from drivetrain.checkpoint._plain import as_plain_data
from drivetrain.checkpoint._staging import Staging
from drivetrain.logging import print_log


class AsyncCheckpointWriter:
    """Writes checkpoints from a background thread, one at a time.

    `save` copies the state to main memory and returns; the caller may change its tensors at once.
    A save that failed raises at the next call of any method, with the original error; call `check`
    at each step border to learn of it early. The process does not exit before the last one is on
    the disk; call `wait` to learn of its failure, too.

    The copy is kept and used again, so memory grows by one copy of the state, once.

    Who writes in another form, for instance shards from several ranks, does its own `start`.

    Args:
        folder: Where `save` writes.

    Example:
        >>> with AsyncCheckpointWriter("work_dirs/digits") as writer:
        ...     writer.save("iter_100.pth", {"iter": 100}, set_latest=True)
    """

    def __init__(self, folder: CheckpointFolder | str | os.PathLike[str]) -> None:
        self.folder = folder if isinstance(folder, CheckpointFolder) else CheckpointFolder(folder)
        self._staging = Staging()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._written: str | None = None

    def save(
        self,
        name: str,
        state: Mapping[str, Any],
        *,
        set_latest: bool = False,
        then: Callable[[str], None] | None = None,
    ) -> None:
        """Copy the state, and write it in the background.

        Waits first for a save that is still being written.

        Args:
            name: Of the checkpoint.
            state: Plain data and tensors of any device.
            set_latest: Move the folder's pointer to it when it is whole.
            then: Called in the background with its path when all that is done; the place to remove
                older ones.

        Raises:
            NotPlainDataError: If the state holds what ``weights_only=True`` would refuse.
            BaseException: What the save before this one raised.
        """
        copy = self.stage(state)
        self.start(lambda: self._write(name, copy, set_latest), then)

    def stage(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a copy of a state in main memory, for `start`; valid until the next call.

        Waits first for a save that is still being written.

        Raises:
            NotPlainDataError: If the state holds what ``weights_only=True`` would refuse.
            BaseException: What the save before this one raised.
        """
        self.wait()
        return self._staging.copy(without_unused_memory(as_plain_data(state)))

    def start(self, write: Callable[[], str], then: Callable[[str], None] | None = None) -> None:
        """Do a save of any kind in the background.

        Waits first for a save that is still being written.

        Args:
            write: Called in the background; returns the path of what it wrote, whole and on the
                disk, or raises.
            then: Called in the background with that path.

        Raises:
            BaseException: What the save before this one raised.
        """
        self.wait()
        # Not a daemon: the interpreter waits for it before it ends.
        self._thread = threading.Thread(
            target=self._run, args=(write, then), name="checkpoint-writer"
        )
        self._thread.start()

    @property
    def in_flight(self) -> bool:
        """Whether a save is being written."""
        return self._thread is not None and self._thread.is_alive()

    def check(self) -> None:
        """Raise what a background save raised, if one did; never waits."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> str | None:
        """Wait until everything is on the disk.

        Returns:
            Path of the last checkpoint that was written, or None.

        Raises:
            BaseException: What a background save raised.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()
        return self._written

    def release_memory(self) -> None:
        """Wait, and free the copy; the next save allocates it anew."""
        self.wait()
        self._staging = Staging()

    def __enter__(self) -> AsyncCheckpointWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wait()

    def _write(self, name: str, copy: Mapping[str, Any], set_latest: bool) -> str:
        path = self.folder.write(name, copy)
        if set_latest:
            self.folder.set_latest(name)
        return path

    def _run(self, write: Callable[[], str], then: Callable[[str], None] | None) -> None:
        try:
            path = write()
            if then is not None:
                then(path)
            self._written = path
        except BaseException as err:  # raised in the training thread, by its next call
            self._error = err
            # Said here, too: a run that ends by another error makes no next call.
            print_log(f"A background save failed: {err}", "current", logging.ERROR)
