"""What stores without real folders have in common; each names only its few primitives."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

from drivetrain.fileio._backend import BaseStorageBackend
from drivetrain.fileio._listing import checked_suffix, is_wanted

PathLike = str | os.PathLike[str]


class ObjectStoreBackend(BaseStorageBackend):
    """Files in a store that is reached by URLs.

    A subclass offers `get`, `put`, `exists`, `isdir`, `isfile`, `remove` and ``_children``;
    copying, listing and temporary local copies follow from these.
    """

    @abstractmethod
    def put(self, obj: bytes, filepath: PathLike) -> None:
        """Write bytes as one object, as a whole."""

    @abstractmethod
    def exists(self, filepath: PathLike) -> bool:
        """Whether there is an object or a folder of this name."""

    @abstractmethod
    def isdir(self, filepath: PathLike) -> bool:
        """Whether some object's name starts with this one and a slash."""

    @abstractmethod
    def isfile(self, filepath: PathLike) -> bool:
        """Whether there is an object of this name."""

    @abstractmethod
    def _delete(self, filepath: str) -> None:
        """Remove one object that exists."""

    @abstractmethod
    def _children(self, dir_path: str) -> Iterator[tuple[str, bool]]:
        """Yield the name and whether it is a folder, of each thing directly in a folder."""

    def get_text(self, filepath: PathLike, encoding: str = "utf-8") -> str:
        """Return an object as text."""
        return bytes(self.get(filepath)).decode(encoding)

    def put_text(self, obj: str, filepath: PathLike, encoding: str = "utf-8") -> None:
        """Write text as one object."""
        self.put(obj.encode(encoding), filepath)

    def join_path(self, filepath: PathLike, *filepaths: PathLike) -> str:
        """Join with ``/``."""
        parts = (os.fspath(part).strip("/") for part in filepaths)
        return "/".join([os.fspath(filepath).rstrip("/"), *parts])

    @contextlib.contextmanager
    def get_local_path(self, filepath: PathLike) -> Iterator[str]:
        """Download to a temporary file, yield its path, and remove it when the block ends."""
        descriptor, path = tempfile.mkstemp(suffix=os.path.splitext(os.fspath(filepath))[1])
        os.close(descriptor)
        try:
            self._download(os.fspath(filepath), path)
            yield path
        finally:
            os.unlink(path)

    def copyfile(self, src: PathLike, dst: PathLike) -> str:
        """Copy within the store; into ``dst`` if that is a folder, else replacing ``dst``.

        Raises:
            shutil.SameFileError: If both are the same object.
        """
        target = self._file_target(src, dst)
        if target == os.fspath(src):
            raise shutil.SameFileError(f"{os.fspath(src)} and {target} are the same file")
        self._copy(os.fspath(src), target)
        return target

    def copytree(self, src: PathLike, dst: PathLike) -> str:
        """Copy a folder within the store to ``dst``, which must not exist yet.

        Raises:
            FileExistsError: If ``dst`` exists.
        """
        self._require_absent(dst)
        for name in self.list_dir_or_file(src, list_dir=False, recursive=True):
            self._copy(self.join_path(src, name), self.join_path(dst, name))
        return os.fspath(dst)

    def copyfile_from_local(self, src: PathLike, dst: PathLike) -> str:
        """Upload a local file; into ``dst`` if that is a folder."""
        target = self._file_target(src, dst)
        self._upload(os.fspath(src), target)
        return target

    def copytree_from_local(self, src: PathLike, dst: PathLike) -> str:
        """Upload a local folder to ``dst``, which must not exist yet.

        Raises:
            FileExistsError: If ``dst`` exists.
        """
        self._require_absent(dst)
        root = os.fspath(src)
        for folder, _, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)
                relative = Path(os.path.relpath(path, root)).as_posix()
                self._upload(path, self.join_path(dst, relative))
        return os.fspath(dst)

    def copyfile_to_local(self, src: PathLike, dst: PathLike) -> str:
        """Download an object; into ``dst`` if that is a local folder."""
        name = os.fspath(src).rstrip("/").rsplit("/", 1)[-1]
        target = os.path.join(dst, name) if os.path.isdir(dst) else os.fspath(dst)
        os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
        self._download(os.fspath(src), target)
        return target

    def copytree_to_local(self, src: PathLike, dst: PathLike) -> str:
        """Download a folder into the local folder ``dst``."""
        for name in self.list_dir_or_file(src, list_dir=False, recursive=True):
            self.copyfile_to_local(self.join_path(src, name), os.path.join(dst, *name.split("/")))
        return os.fspath(dst)

    def copy_if_symlink_fails(self, src: PathLike, dst: PathLike) -> bool:
        """Copy a file or folder: a store has no links.

        Returns:
            Always False: it is a copy.
        """
        copy = self.copytree if self.isdir(src) else self.copyfile
        copy(src, dst)
        return False

    def remove(self, filepath: PathLike) -> None:
        """Remove one object.

        Raises:
            IsADirectoryError: If it is a folder; see `rmtree`.
            FileNotFoundError: If it does not exist.
        """
        path = os.fspath(filepath)
        if not self.isfile(path):
            if self.isdir(path):
                raise IsADirectoryError(f"{path} is a folder; rmtree removes folders")
            raise FileNotFoundError(f"{path} does not exist")
        self._delete(path)

    def rmtree(self, dir_path: PathLike) -> None:
        """Remove a folder with all that is in it."""
        names = list(self.list_dir_or_file(dir_path, list_dir=False, recursive=True, hidden=True))
        for name in names:
            self._delete(self.join_path(dir_path, name))

    def list_dir_or_file(
        self,
        dir_path: PathLike,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: str | tuple[str, ...] | None = None,
        recursive: bool = False,
        *,
        hidden: bool = False,
    ) -> Iterator[str]:
        """Yield what is in a folder, relative to it, in arbitrary order.

        Args:
            dir_path: The folder.
            list_dir: Yield folders. A ``suffix`` asks for files, so folders are left out then.
            list_file: Yield files.
            suffix: Only files that end so, or in one of these.
            recursive: Descend into subfolders.
            hidden: Also yield files whose name starts with a dot.
        """
        endings = checked_suffix(suffix)
        for relative, is_folder in self._walk(os.fspath(dir_path), "", recursive):
            name = relative.rsplit("/", 1)[-1]
            if is_folder:
                if list_dir and endings is None:
                    yield relative
            elif list_file and is_wanted(name, endings, hidden=hidden):
                yield relative

    def _walk(self, folder: str, relative: str, recursive: bool) -> Iterator[tuple[str, bool]]:
        for name, is_folder in self._children(folder):
            path = f"{relative}/{name}" if relative else name
            yield path, is_folder
            if is_folder and recursive:
                yield from self._walk(self.join_path(folder, name), path, recursive)

    def _copy(self, src: str, dst: str) -> None:
        self.put(self.get(src), dst)

    def _upload(self, local: str, dst: str) -> None:
        self.put(Path(local).read_bytes(), dst)

    def _download(self, src: str, local: str) -> None:
        Path(local).write_bytes(self.get(src))

    def _file_target(self, src: PathLike, dst: PathLike) -> str:
        if self.isdir(dst):
            return self.join_path(dst, os.path.basename(os.fspath(src).rstrip("/")))
        return os.fspath(dst)

    def _require_absent(self, dst: PathLike) -> None:
        if self.exists(dst):
            raise FileExistsError(f"{os.fspath(dst)} exists already; copytree makes a new folder")
