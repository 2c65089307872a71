"""Write a checkpoint so that it is whole or absent."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, cast

import torch

from drivetrain.checkpoint._compact import without_unused_memory
from drivetrain.checkpoint._errors import CheckpointCorruptError, CheckpointWriteError
from drivetrain.checkpoint._hashing import HashingWriter
from drivetrain.checkpoint._manifest import (
    MANIFEST_SUFFIX,
    Fingerprint,
    announce,
    manifest_text,
    settle,
)
from drivetrain.checkpoint._plain import as_plain_data
from drivetrain.fileio import LocalBackend, atomic_write, file_lock, get_file_backend

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})
_COPIED_BYTES = 1 << 22
_written: dict[str, tuple[int, ...]] = {}
_WRITTEN_KEPT = 64  # whoever wants to know asks right after the write
_LOCK_TIMEOUT_S = 60.0  # the lock is held for two small files and a rename


def save_checkpoint(
    checkpoint: Mapping[str, Any],
    filename: str | os.PathLike[str],
    file_client_args: Mapping[str, Any] | None = None,
    backend_args: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint: afterwards it is whole under its name, or the call has raised.

    On a disk: written beside, flushed, its size and checksum noted in ``<filename>.manifest.json``,
    renamed, checked. A kill at any moment leaves what stood there before, or the new one. In a
    store, the manifest is uploaded first and then the file, as one object.

    Args:
        checkpoint: Plain data and tensors; see `as_plain_data` for what is converted.
        filename: A path or URL. Missing folders are made.
        file_client_args: Deprecated, see ``backend_args``.
        backend_args: Which storage backend to use, see `drivetrain.fileio.get_file_backend`.

    Raises:
        NotPlainDataError: If the state holds what ``weights_only=True`` would refuse.
        CheckpointWriteError: If the disk is full, the folder read-only, …
        ValueError: If both kinds of backend arguments are given.

    Example:
        >>> save_checkpoint({"state_dict": model.state_dict()}, "work_dirs/epoch_1.pth")
    """
    if file_client_args is not None:
        if backend_args is not None:
            raise ValueError("file_client_args and backend_args exclude each other")
        backend_args = file_client_args
    backend = get_file_backend(filename, backend_args=backend_args)
    if isinstance(backend, LocalBackend):
        write_local(checkpoint, os.fspath(filename))
        return
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
        local = os.path.join(folder, "checkpoint.pth")
        with open(local, "wb") as file:
            fingerprint = _save(without_unused_memory(as_plain_data(checkpoint)), file)
        backend.put_text(manifest_text((fingerprint,)), f"{os.fspath(filename)}{MANIFEST_SUFFIX}")
        backend.copyfile_from_local(local, filename)


def write_local(state: Any, path: str) -> Fingerprint:
    """Write a state to a file of this disk, and return what was written.

    Raises:
        NotPlainDataError: If the state holds what ``weights_only=True`` would refuse.
        CheckpointWriteError: If the system refuses.
    """
    plain = without_unused_memory(as_plain_data(state))
    return _write_whole(path, lambda file: _save(plain, file))


def copy_local(source: str, path: str) -> Fingerprint:
    """Write a file of this disk once more under another name, as `write_local` does.

    Raises:
        CheckpointWriteError: If the system refuses.
    """

    def copy(file: IO[bytes]) -> Fingerprint:
        with open(source, "rb") as original, HashingWriter(file) as writer:
            shutil.copyfileobj(original, cast("Any", writer), _COPIED_BYTES)
        return Fingerprint(writer.size_bytes, writer.hexdigest())

    return _write_whole(path, copy)


def fingerprint_of(checkpoint: Mapping[str, Any]) -> Fingerprint:
    """Return size and checksum of the file that `save_checkpoint` would write."""
    with open(os.devnull, "wb") as nothing:
        return _save(without_unused_memory(as_plain_data(checkpoint)), nothing)


def _write_whole(path: str, fill: Callable[[IO[bytes]], Fingerprint]) -> Fingerprint:
    with _write_errors(path):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        # The lock outlives the rename at the end of atomic_write: two runs that write the same
        # name must not see a file of the one beside the manifest of the other.
        with contextlib.ExitStack() as locked:
            with atomic_write(path) as file:
                fingerprint = fill(file)
                file.flush()
                os.fsync(file.fileno())
                locked.enter_context(folder_lock(path))
                announce(path, fingerprint)
            settle(path, fingerprint)
            size = os.path.getsize(path)
            _note_written(path)
    if size != fingerprint.size:
        raise CheckpointCorruptError(
            f"{path}: {fingerprint.size} bytes were written, but the file has {size}; "
            "something else writes to it"
        )
    return fingerprint


def identity_of(path: str) -> tuple[int, ...] | None:
    """Return what changes when somebody gives the name to another file; None without a file."""
    if not os.path.isfile(path):
        return None
    status = os.stat(path)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def written_identity(path: str) -> tuple[int, ...] | None:
    """Return the identity of the file that this process last gave a name to, lately; else None."""
    return _written.get(os.path.realpath(path))


def _note_written(path: str) -> None:
    """Keep what a file is, under the lock: a moment later another run may have replaced it."""
    name, identity = os.path.realpath(path), identity_of(path)
    _written.pop(name, None)
    if identity is not None:
        _written[name] = identity
    if len(_written) > _WRITTEN_KEPT:
        del _written[next(iter(_written))]


def _save(plain: Any, file: IO[bytes]) -> Fingerprint:
    with HashingWriter(file) as writer:
        try:
            # torch asks of a file what this one has, though its annotation asks for more.
            torch.save(plain, cast("Any", writer))
        except Exception as err:
            # torch closes its archive on the way out, which fails too and hides the first reason:
            # what the system said of the file, or that somebody pressed Ctrl-C.
            reason = writer.error or _interruption(err)
            if reason is not None:
                raise reason from None
            raise
    return Fingerprint(writer.size_bytes, writer.hexdigest())


def _interruption(err: BaseException | None) -> BaseException | None:
    while isinstance(err, Exception):
        err = err.__context__
    return err


@contextlib.contextmanager
def folder_lock(path: str) -> Iterator[None]:
    """Keep other runs from giving this name to a file; no-op where there are no locks."""
    folder = os.path.dirname(os.path.realpath(path))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(os.path.join(folder, ".checkpoints"), _LOCK_TIMEOUT_S))
        except NotImplementedError:
            pass
        except OSError as err:
            # A file system without locks. One run is as safe without; only two runs that write the
            # same name at the same moment could mix a file and a manifest.
            if err.errno not in _NO_LOCKS:
                raise
        yield


@contextlib.contextmanager
def _write_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise CheckpointWriteError(
            f"{path}: the checkpoint could not be written: {err.strerror or err}.\n"
            "  Nothing was changed: what stood there before is as it was."
        ) from err
