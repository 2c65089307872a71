"""The operations of a backend as functions: the URL or ``backend_args`` choose the backend."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from drivetrain.fileio._backend import BaseStorageBackend
from drivetrain.fileio._backend_table import get_file_backend

PathLike = str | os.PathLike[str]
Arguments = Mapping[str, Any] | None


def _backend(uri: PathLike, backend_args: Arguments) -> BaseStorageBackend:
    return get_file_backend(uri, backend_args=backend_args, enable_singleton=True)


def get(filepath: PathLike, backend_args: Arguments = None) -> bytes:
    """Return the bytes of a file."""
    return _backend(filepath, backend_args).get(filepath)


def get_text(filepath: PathLike, encoding: str = "utf-8", backend_args: Arguments = None) -> str:
    """Return a file as text."""
    return _backend(filepath, backend_args).get_text(filepath, encoding)


def put(obj: bytes, filepath: PathLike, backend_args: Arguments = None) -> None:
    """Write bytes to a file; missing folders are made."""
    _backend(filepath, backend_args).put(obj, filepath)


def put_text(
    obj: str, filepath: PathLike, backend_args: Arguments = None, encoding: str = "utf-8"
) -> None:
    """Write text to a file; missing folders are made."""
    _backend(filepath, backend_args).put_text(obj, filepath, encoding)


def exists(filepath: PathLike, backend_args: Arguments = None) -> bool:
    """Whether there is a file or folder of this name."""
    return _backend(filepath, backend_args).exists(filepath)


def isdir(filepath: PathLike, backend_args: Arguments = None) -> bool:
    """Whether this is a folder."""
    return _backend(filepath, backend_args).isdir(filepath)


def isfile(filepath: PathLike, backend_args: Arguments = None) -> bool:
    """Whether this is a file."""
    return _backend(filepath, backend_args).isfile(filepath)


def join_path(filepath: PathLike, *filepaths: PathLike, backend_args: Arguments = None) -> str:
    """Join path components as the backend of the first one does."""
    return _backend(filepath, backend_args).join_path(filepath, *filepaths)


@contextlib.contextmanager
def get_local_path(filepath: PathLike, backend_args: Arguments = None) -> Iterator[PathLike]:
    """Yield a local path with the file's content.

    A local file is yielded itself and stays; anything else is downloaded to a temporary file that
    is removed when the block ends.
    """
    with _backend(filepath, backend_args).get_local_path(filepath) as path:
        yield path


def copyfile(src: PathLike, dst: PathLike, backend_args: Arguments = None) -> str:
    """Copy a file within one backend; into ``dst`` if that is a folder, else replacing ``dst``.

    Returns:
        The path of the copy.

    Raises:
        shutil.SameFileError: If both are the same file.
    """
    return _backend(src, backend_args).copyfile(src, dst)


def copytree(src: PathLike, dst: PathLike, backend_args: Arguments = None) -> str:
    """Copy a folder within one backend to ``dst``, which must not exist yet.

    Raises:
        FileExistsError: If ``dst`` exists.
    """
    return _backend(src, backend_args).copytree(src, dst)


def copyfile_from_local(src: PathLike, dst: PathLike, backend_args: Arguments = None) -> str:
    """Copy a local file to the backend of ``dst``; into ``dst`` if that is a folder."""
    return _backend(dst, backend_args).copyfile_from_local(src, dst)


def copytree_from_local(src: PathLike, dst: PathLike, backend_args: Arguments = None) -> str:
    """Copy a local folder to the backend of ``dst``."""
    return _backend(dst, backend_args).copytree_from_local(src, dst)


def copyfile_to_local(src: PathLike, dst: PathLike, backend_args: Arguments = None) -> str:
    """Copy a file from the backend of ``src`` to the disk; into ``dst`` if that is a folder."""
    return _backend(src, backend_args).copyfile_to_local(src, dst)


def copytree_to_local(src: PathLike, dst: PathLike, backend_args: Arguments = None) -> str:
    """Copy a folder from the backend of ``src`` to the disk."""
    return _backend(src, backend_args).copytree_to_local(src, dst)


def remove(filepath: PathLike, backend_args: Arguments = None) -> None:
    """Remove a file.

    Raises:
        IsADirectoryError: If it is a folder; see `rmtree`.
        FileNotFoundError: If it does not exist.
    """
    _backend(filepath, backend_args).remove(filepath)


def rmtree(dir_path: PathLike, backend_args: Arguments = None) -> None:
    """Remove a folder with all that is in it."""
    _backend(dir_path, backend_args).rmtree(dir_path)


def copy_if_symlink_fails(src: PathLike, dst: PathLike, backend_args: Arguments = None) -> bool:
    """Link ``dst`` to ``src``, or copy where links are not possible.

    Returns:
        True if it became a link, False if a copy.
    """
    return _backend(src, backend_args).copy_if_symlink_fails(src, dst)


def list_dir_or_file(
    dir_path: PathLike,
    list_dir: bool = True,
    list_file: bool = True,
    suffix: str | tuple[str, ...] | None = None,
    recursive: bool = False,
    backend_args: Arguments = None,
) -> Iterator[str]:
    """Yield what is in a folder, relative to it, in arbitrary order; hidden files are left out.

    Args:
        dir_path: The folder.
        list_dir: Yield folders. A ``suffix`` asks for files, so folders are left out then.
        list_file: Yield files.
        suffix: Only files that end so, or in one of these.
        recursive: Descend into subfolders.
        backend_args: Which backend to use, see `get_file_backend`.
    """
    return _backend(dir_path, backend_args).list_dir_or_file(
        dir_path, list_dir, list_file, suffix, recursive
    )


def generate_presigned_url(
    url: str,
    client_method: str = "get_object",
    expires_in: int = 3600,
    backend_args: Arguments = None,
) -> str:
    """Return a URL that stands for an object in a store for ``expires_in`` seconds.

    Args:
        url: The object.
        client_method: ``"get_object"`` to read; some stores also sign ``"put_object"``.
        expires_in: Seconds.
        backend_args: Which backend to use, see `get_file_backend`.

    Raises:
        UnsupportedOperationError: If the backend cannot sign.
    """
    return _backend(url, backend_args).generate_presigned_url(url, client_method, expires_in)
