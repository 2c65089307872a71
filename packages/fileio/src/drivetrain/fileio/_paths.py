"""Small questions and chores about local paths."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeGuard

from drivetrain.fileio._listing import checked_suffix


def is_filepath(x: object) -> TypeGuard[str | Path]:
    """Whether ``x`` is of a type that names a file: a string or a ``Path``."""
    return isinstance(x, (str, Path))


def is_abs(path: str | os.PathLike[str]) -> bool:
    """Whether a path stands on its own: absolute on this disk, or a URL such as ``s3://…``."""
    text = os.fspath(path)
    return os.path.isabs(text) or "://" in text


def fopen(filepath: str | Path, *args: Any, **kwargs: Any) -> IO[Any]:
    """Call ``open`` on a string or a ``Path``.

    Raises:
        ValueError: If ``filepath`` is of another type, for instance a file descriptor.
    """
    if not is_filepath(filepath):
        raise ValueError(
            f"fopen: filepath must be a string or a Path, got {type(filepath).__name__}"
        )
    return open(filepath, *args, **kwargs)


def check_file_exist(filename: str | Path, msg_tmpl: str = 'file "{}" does not exist') -> None:
    """Raise ``FileNotFoundError`` unless ``filename`` is an existing file.

    Args:
        filename: The file that must be there.
        msg_tmpl: Text of the error; ``{}`` becomes the file name.
    """
    if not os.path.isfile(filename):
        raise FileNotFoundError(msg_tmpl.format(filename))


def mkdir_or_exist(dir_name: str | os.PathLike[str], mode: int = 0o777) -> None:
    """Make a folder and its parents; do nothing when it is there or when the name is empty.

    ``~`` becomes the home folder. ``mode`` is subject to the process's umask.
    """
    if os.fspath(dir_name) == "":
        return
    os.makedirs(os.path.expanduser(dir_name), mode=mode, exist_ok=True)


def symlink(
    src: str | os.PathLike[str], dst: str | os.PathLike[str], overwrite: bool = True, **kwargs: Any
) -> None:
    """Make ``dst`` a symbolic link to ``src``.

    Args:
        src: What the link points to.
        dst: The link.
        overwrite: Replace a file or link that stands at ``dst``.
        **kwargs: Passed to ``os.symlink``.

    Raises:
        FileExistsError: If something stands at ``dst`` and ``overwrite`` is False.
    """
    if overwrite and os.path.lexists(dst):
        os.remove(dst)
    os.symlink(src, dst, **kwargs)


def scandir(
    dir_path: str | Path,
    suffix: str | tuple[str, ...] | None = None,
    recursive: bool = False,
    case_sensitive: bool = True,
) -> Iterator[str]:
    """Yield the files of a folder, relative to it, in arbitrary order; hidden files are left out.

    Args:
        dir_path: The folder.
        suffix: Only names that end so, or in one of these.
        recursive: Descend into subfolders.
        case_sensitive: Whether ``.JPG`` differs from ``.jpg``.

    Raises:
        TypeError: If ``dir_path`` or ``suffix`` has another type. Raised by the call, not by the
            first item.
    """
    if not is_filepath(dir_path):
        raise TypeError(
            f"scandir: dir_path must be a string or a Path, got {type(dir_path).__name__}"
        )
    endings = checked_suffix(suffix)
    if endings is not None and not case_sensitive:
        endings = tuple(ending.lower() for ending in endings)
    return _scan_files(str(dir_path), str(dir_path), endings, recursive, case_sensitive)


def find_vcs_root(path: str | os.PathLike[str], markers: Sequence[str] | None = None) -> str | None:
    """Return the nearest folder at or above ``path`` that holds one of ``markers``, or None.

    Args:
        path: A file or a folder.
        markers: Names to look for; ``.git`` when not given.
    """
    wanted = tuple(markers) if markers else (".git",)
    start = Path(os.path.abspath(path))
    folder = start.parent if start.is_file() else start
    for candidate in (folder, *folder.parents):
        if any((candidate / marker).exists() for marker in wanted):
            return str(candidate)
    return None


def get_git_hash(fallback: str = "unknown", digits: int | None = None) -> str:
    """Hash of the commit that the working folder's repository is at.

    Args:
        fallback: What to return where there is no repository, or no git.
        digits: Digits to keep; all by default.

    Raises:
        TypeError: If ``digits`` is neither a number nor None.
    """
    if digits is not None and not isinstance(digits, int):
        raise TypeError(f"get_git_hash: digits is an int or None, got {digits!r}")
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return fallback
    return done.stdout.strip()[:digits]


def _scan_files(
    folder: str, root: str, endings: tuple[str, ...] | None, recursive: bool, case_sensitive: bool
) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                name = entry.name if case_sensitive else entry.name.lower()
                if not name.startswith(".") and (endings is None or name.endswith(endings)):
                    yield os.path.relpath(entry.path, root)
            elif recursive and entry.is_dir():
                yield from _scan_files(entry.path, root, endings, recursive, case_sensitive)
