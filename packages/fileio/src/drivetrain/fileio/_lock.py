"""One process at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from drivetrain.fileio._errors import LockTimeoutError


@contextlib.contextmanager
def file_lock(path: str | os.PathLike[str], timeout_s: float | None = None) -> Iterator[None]:
    """Hold the lock that guards ``path``, against other threads and other processes of this
    machine.

    The lock is a file named ``<path>.lock``; it stays afterwards, empty. The system frees the lock
    when its holder dies, however it dies. The folder must exist; ``path`` itself need not.

    Args:
        path: What is guarded: a file or a folder.
        timeout_s: How long to wait for another holder; ``None`` waits for ever.

    Raises:
        LockTimeoutError: If the lock was not free in time.
    """
    import filelock  # lazily: it brings asyncio, which costs more than the rest of this package

    lock_path = f"{os.fspath(path)}.lock"
    lock = filelock.FileLock(lock_path, timeout=-1 if timeout_s is None else timeout_s)
    try:
        lock.acquire()
    except filelock.Timeout as err:
        raise LockTimeoutError(
            f"{os.fspath(path)}: {lock_path} was not free within {timeout_s} s.\n"
            "  What to do: wait for it, end it, or raise timeout_s."
        ) from err
    try:
        yield
    finally:
        lock.release()
