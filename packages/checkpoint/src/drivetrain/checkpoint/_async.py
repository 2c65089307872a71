"""Save in the background: training waits for a copy of the state, not for the disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from drivetrain.checkpoint._folder import CheckpointFolder
from drivetrain.checkpoint._plain import as_plain_data
from drivetrain.checkpoint._staging import Staging


class AsyncCheckpointWriter:
    """Writes checkpoints into a folder from a background thread, one at a time.

    `save` copies the state to main memory and returns; the caller may change its tensors at once.
    A save that failed raises at the next call of any method, with the original error. The process
    does not exit before the last one is on the disk; call `wait` to learn of its failure, too.

    The copy is kept and used again, so memory grows by one copy of the state, once.

    Args:
        folder: Where to write.

    Example:
        >>> with AsyncCheckpointWriter("work_dirs/digits") as writer:
        ...     writer.save("iter_100.pth", {"iter": 100}, set_latest=True)
    """

    def __init__(self, folder: CheckpointFolder | str | os.PathLike[str]) -> None:
        is_folder = isinstance(folder, CheckpointFolder)
        self.folder = folder if is_folder else CheckpointFolder(folder)
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
        self.wait()
        copy = self._staging.copy(as_plain_data(state))
        # Not a daemon: the interpreter waits for it before it ends.
        self._thread = threading.Thread(
            target=self._write, args=(name, copy, set_latest, then), name=f"checkpoint-{name}"
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

    def _write(
        self,
        name: str,
        copy: Mapping[str, Any],
        set_latest: bool,
        then: Callable[[str], None] | None,
    ) -> None:
        try:
            path = self.folder.write(name, copy)
            if set_latest:
                self.folder.set_latest(name)
            self._written = path
            if then is not None:
                then(path)
        except BaseException as err:  # raised in the training thread, by its next call
            self._error = err
