"""The disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from drivetrain.fileio._atomic import atomic_write
from drivetrain.fileio._backend import BaseStorageBackend
from drivetrain.fileio._listing import checked_suffix, is_wanted

PathLike = str | os.PathLike[str]


class LocalBackend(BaseStorageBackend):
    """Files on a disk of this machine.

    ``put`` and ``put_text`` create missing folders, and replace a file as a whole: a reader or a
    killed writer never meets half of one.
    """

    @property
    def allow_symlink(self) -> bool:
        """Whether the place knows symbolic links: a disk does."""
        return True

    def get(self, filepath: PathLike) -> bytes:
        """Return the bytes of a file."""
        return Path(filepath).read_bytes()

    def get_text(self, filepath: PathLike, encoding: str = "utf-8") -> str:
        """Return a file as text."""
        return Path(filepath).read_text(encoding=encoding)

    def put(self, obj: bytes, filepath: PathLike) -> None:
        """Write bytes to a file."""
        if _is_special(filepath):
            Path(filepath).write_bytes(obj)
            return
        os.makedirs(os.path.dirname(os.path.abspath(filepath)), exist_ok=True)
        with atomic_write(filepath, "wb", durable=False) as file:
            file.write(obj)

    def put_text(self, obj: str, filepath: PathLike, encoding: str = "utf-8") -> None:
        """Write text to a file."""
        self.put(obj.encode(encoding), filepath)

    def exists(self, filepath: PathLike) -> bool:
        """Whether there is a file or folder of this name."""
        return os.path.exists(filepath)

    def isdir(self, filepath: PathLike) -> bool:
        """Whether this is a folder."""
        return os.path.isdir(filepath)

    def isfile(self, filepath: PathLike) -> bool:
        """Whether this is a file."""
        return os.path.isfile(filepath)

    def join_path(self, filepath: PathLike, *filepaths: PathLike) -> str:
        """Join path components with the system's separator."""
        return os.path.join(os.fspath(filepath), *(os.fspath(part) for part in filepaths))

    @contextlib.contextmanager
    def get_local_path(self, filepath: PathLike) -> Iterator[PathLike]:
        """Yield the path itself: it is local already, and stays."""
        yield filepath

    def copyfile(self, src: PathLike, dst: PathLike) -> str:
        """Copy a file with its permissions; into ``dst`` if that is a folder, else replacing
        ``dst``.

        Returns:
            The path of the copy.

        Raises:
            shutil.SameFileError: If both are the same file.
        """
        return str(shutil.copy(src, dst))

    def copytree(self, src: PathLike, dst: PathLike) -> str:
        """Copy a folder with all that is in it to ``dst``, which must not exist yet.

        Raises:
            FileExistsError: If ``dst`` exists.
        """
        return str(shutil.copytree(src, dst))

    def copyfile_from_local(self, src: PathLike, dst: PathLike) -> str:
        """Same as `copyfile`."""
        return self.copyfile(src, dst)

    def copytree_from_local(self, src: PathLike, dst: PathLike) -> str:
        """Same as `copytree`."""
        return self.copytree(src, dst)

    def copyfile_to_local(self, src: PathLike, dst: PathLike) -> str:
        """Same as `copyfile`."""
        return self.copyfile(src, dst)

    def copytree_to_local(self, src: PathLike, dst: PathLike) -> str:
        """Same as `copytree`."""
        return self.copytree(src, dst)

    def remove(self, filepath: PathLike) -> None:
        """Remove a file.

        Raises:
            IsADirectoryError: If it is a folder; see `rmtree`.
            FileNotFoundError: If it does not exist.
        """
        if os.path.isdir(filepath):
            raise IsADirectoryError(f"{os.fspath(filepath)} is a folder; rmtree removes folders")
        os.remove(filepath)

    def rmtree(self, dir_path: PathLike) -> None:
        """Remove a folder with all that is in it."""
        shutil.rmtree(dir_path)

    def copy_if_symlink_fails(self, src: PathLike, dst: PathLike) -> bool:
        """Link ``dst`` to ``src``, or copy where links are not possible.

        Returns:
            True if it became a link, False if a copy.
        """
        try:
            os.symlink(src, dst)
        except FileExistsError:
            raise
        except OSError:
            copy = self.copytree if os.path.isdir(src) else self.copyfile
            copy(src, dst)
            return False
        return True

    def list_dir_or_file(
        self,
        dir_path: PathLike,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: str | tuple[str, ...] | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """Yield what is in a folder, relative to it, in arbitrary order; hidden files are left out.

        Args:
            dir_path: The folder.
            list_dir: Yield folders. A ``suffix`` asks for files, so folders are left out then.
            list_file: Yield files.
            suffix: Only files that end so, or in one of these.
            recursive: Descend into subfolders.
        """
        endings = checked_suffix(suffix)
        folders = list_dir and endings is None
        return self._list(os.fspath(dir_path), "", folders, list_file, endings, recursive)

    def _list(
        self,
        folder: str,
        relative: str,
        list_dir: bool,
        list_file: bool,
        endings: tuple[str, ...] | None,
        recursive: bool,
    ) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = os.path.join(relative, entry.name)
                if entry.is_dir():
                    if list_dir:
                        yield name
                    if recursive:
                        yield from self._list(
                            entry.path, name, list_dir, list_file, endings, recursive
                        )
                elif list_file and is_wanted(entry.name, endings):
                    yield name


class HardDiskBackend(LocalBackend):
    """The name that older configs use for `LocalBackend`."""


def _is_special(filepath: PathLike) -> bool:
    """Whether this is a device or pipe, which is written to and never replaced."""
    return os.path.exists(filepath) and not os.path.isfile(filepath) and not os.path.isdir(filepath)
