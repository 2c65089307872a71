"""A file is whole or absent: write beside, flush to disk, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

if sys.platform != "win32":
    import fcntl

_TEMPORARY = re.compile(r"^\..+\.[0-9]+-[0-9a-f]{8}\.tmp$")
_MODES = frozenset({"wb", "w", "wt"})


@contextlib.contextmanager
def atomic_write(
    path: str | os.PathLike[str],
    mode: str = "wb",
    *,
    encoding: str | None = None,
    durable: bool = True,
) -> Iterator[IO[Any]]:
    """Open a file for writing that appears under its name only when it is complete.

    The bytes go into a hidden file beside ``path``. When the block ends they are flushed to the
    disk, the hidden file takes the name, and the folder is flushed too. When the block raises, the
    hidden file is removed and whatever stood under ``path`` before stays as it was. A process
    killed inside the block leaves only the hidden file, which `remove_stale_temporaries` collects.

    A symbolic link is written through. An existing file keeps its permission bits.

    Args:
        path: The final name. Its folder must exist.
        mode: ``"wb"`` for bytes, ``"w"`` for text.
        encoding: Of a text file; UTF-8 when not given.
        durable: Flush to the disk before the rename. Without it a killed process still leaves no
            half file, but a power cut may lose the new content.

    Raises:
        ValueError: If ``mode`` is another one, or ``path`` is a device, pipe or socket.
        IsADirectoryError: If ``path`` is a folder.

    Example:
        >>> with atomic_write("notes.txt", "w") as file:
        ...     _ = file.write("whole or absent")
    """
    if mode not in _MODES:
        raise ValueError(f"atomic_write: mode must be 'wb' or 'w', got {mode!r}")
    target = os.path.realpath(path)
    kept_mode = _regular_file_mode(target)
    descriptor, temporary = _create_beside(target)
    try:
        if kept_mode is not None:
            os.chmod(temporary, kept_mode)
        text_encoding = None if mode == "wb" else encoding or "utf-8"
        with os.fdopen(descriptor, mode, encoding=text_encoding) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            # Renamed while open, so that the lock says "in use" until the name is final.
            if sys.platform != "win32":
                os.replace(temporary, target)
        if sys.platform == "win32":
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        fsync_directory(os.path.dirname(target))


def fsync_directory(path: str | os.PathLike[str]) -> None:
    """Flush a folder's list of names to the disk, so that a rename in it survives a power cut."""
    if sys.platform == "win32":  # folders cannot be opened there; NTFS journals renames itself
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as err:
        # Some network file systems flush names themselves, and refuse to be asked.
        if err.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def remove_stale_temporaries(
    folder: str | os.PathLike[str], *, min_age_s: float = 0.0
) -> list[str]:
    """Remove what killed writers of `atomic_write` left in a folder, and nothing that is in use.

    A writer holds a lock on its hidden file for as long as it lives; a file whose lock is free has
    no writer.

    Args:
        folder: Where to look; its subfolders are left alone.
        min_age_s: Leave files alone that changed within so many seconds. A margin for file systems
            whose locks are not seen by other hosts.

    Returns:
        The names that were removed. Always empty on Windows, where the lock does not exist.
    """
    if sys.platform == "win32":
        return []
    with os.scandir(folder) as entries:
        paths = [entry.path for entry in entries if _TEMPORARY.match(entry.name)]
    newest_allowed_s = time.time() - min_age_s
    removed = [path for path in paths if _remove_if_unlocked(path, newest_allowed_s)]
    return sorted(os.path.basename(path) for path in removed)


def _regular_file_mode(target: str) -> int | None:
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(
            f"atomic_write: {target} is a folder; give the name of a file in it"
        )
    if not stat.S_ISREG(mode):
        raise ValueError(
            f"atomic_write: {target} is no regular file; it cannot be replaced by a rename"
        )
    return stat.S_IMODE(mode)


def _create_beside(target: str) -> tuple[int, str]:
    folder, name = os.path.split(target)
    flags = (
        os.O_RDWR
        | os.O_CREAT
        | os.O_EXCL
        | getattr(os, "O_CLOEXEC", 0)
        | getattr(os, "O_BINARY", 0)
    )
    while True:
        # The name is cut so that a long one plus the suffix stays within a file system's 255 bytes.
        temporary = os.path.join(folder, f".{name[:60]}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
        try:
            descriptor = os.open(temporary, flags, 0o666)
        except FileExistsError:
            continue
        except FileNotFoundError as err:
            raise FileNotFoundError(
                f"cannot write {target}: there is no such folder; mkdir_or_exist creates it"
            ) from err
        _lock_if_possible(descriptor)
        if os.fstat(descriptor).st_nlink > 0:
            return descriptor, temporary
        os.close(descriptor)  # a cleaner took it between its creation and its lock


def _lock_if_possible(descriptor: int) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pass  # a file system without locks: what a killed writer leaves there stays


def _remove_if_unlocked(path: str, newest_allowed_s: float) -> bool:
    if sys.platform == "win32":
        return False
    try:
        descriptor = os.open(path, os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        return False
    try:
        if os.fstat(descriptor).st_mtime > newest_allowed_s:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        Path(path).unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
