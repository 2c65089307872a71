"""The checkpoints of one run: which there are, which is the newest good one."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from drivetrain.checkpoint._entry import CheckpointEntry
from drivetrain.checkpoint._errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointWriteError,
)
from drivetrain.checkpoint._hashing import sha256_of_file
from drivetrain.checkpoint._manifest import MANIFEST_SUFFIX, manifest_path, parse_manifest
from drivetrain.checkpoint._publish import is_published
from drivetrain.checkpoint._sharded import (
    copy_folder,
    is_checkpoint_folder,
    is_sealed,
    remove_folder,
)
from drivetrain.checkpoint._verify import FileCheck, verify_checkpoint
from drivetrain.checkpoint._write import (
    copy_local,
    folder_lock,
    identity_of,
    save_checkpoint,
    written_identity,
)
from drivetrain.fileio import (
    BaseStorageBackend,
    LocalBackend,
    atomic_write,
    get_file_backend,
    remove_stale_temporaries,
)
from drivetrain.logging import print_log

POINTER = "last_checkpoint"
_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")
_STALE_AFTER_S = 600.0


class CheckpointFolder:
    """The checkpoints of one run, in a folder or under a URL.

    A checkpoint is a file, or a folder of shards that `seal_folder` or
    ``torch.distributed.checkpoint`` has listed.

    The order that never loses one: `write` the new one, `set_latest` to it, and only then `remove`
    an old one.

    Args:
        path: The folder. It is made by the first `write`.
        backend_args: Which storage backend to use, see `drivetrain.fileio.get_file_backend`.
        elsewhere_args: The same for paths outside of this folder, where the pointer may lead; by
            default ``backend_args``.

    Attributes:
        skipped: Path and reason of each file that the last call of `latest` passed over.

    Example:
        >>> folder = CheckpointFolder("work_dirs/digits")
        >>> _ = folder.write("epoch_1.pth", {"epoch": 1})
        >>> folder.set_latest("epoch_1.pth")
        >>> folder.latest()
        'work_dirs/digits/epoch_1.pth'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        backend_args: Mapping[str, Any] | None = None,
        *,
        elsewhere_args: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.backend_args = backend_args
        self.elsewhere_args = backend_args if elsewhere_args is None else elsewhere_args
        self.skipped: list[tuple[str, str]] = []
        self._cleaned = False

    def path_of(self, name: str) -> str:
        """Return the path of a checkpoint in this folder.

        A name with a separator in it is a path or URL already, and stays as it is.
        """
        is_bare = os.path.basename(name) == name and "/" not in name
        return self._backend.join_path(self.path, name) if is_bare else name

    def write(self, name: str, state: Mapping[str, Any]) -> str:
        """Write a checkpoint: afterwards it is whole under its name, or the call has raised.

        Returns:
            Its path.

        Raises:
            NotPlainDataError: If the state holds what ``weights_only=True`` would refuse.
            CheckpointWriteError: If the disk is full, the folder read-only, …
        """
        path = self.path_of(name)
        if not self._cleaned and self._is_local and os.path.isdir(self.path):
            # A killed writer leaves a hidden file as large as a checkpoint.
            remove_stale_temporaries(self.path, min_age_s=_STALE_AFTER_S)
        self._cleaned = True
        save_checkpoint(state, path, backend_args=self.backend_args)
        return path

    def copy(self, name: str, new_name: str) -> str:
        """Write a checkpoint once more under another name; whole or absent, as `write` does.

        Returns:
            The path of the copy.

        Raises:
            CheckpointNotFoundError: If there is none of this name.
            CheckpointWriteError: If the disk is full, the folder read-only, …
        """
        source, path = self.path_of(name), self.path_of(new_name)
        if is_checkpoint_folder(source):
            copy_folder(source, path)
        elif not self._backend.isfile(source):
            raise CheckpointNotFoundError(f"{source}: there is no such file to copy")
        elif self._is_local:
            copy_local(source, path)
        else:
            if self._backend.exists(manifest_path(source)):
                self._backend.copyfile(manifest_path(source), manifest_path(path))
            self._backend.copyfile(source, path)
        return path

    def set_latest(self, name: str, also_in: str | os.PathLike[str] | None = None) -> None:
        """Say that a run should go on from this checkpoint.

        The pointer is the file ``last_checkpoint`` in the folder; it holds the path.

        Args:
            name: The checkpoint.
            also_in: A folder of this disk that gets a pointer to it, too: a run that keeps its
                checkpoints in a store looks for them in its work dir first.

        Raises:
            CheckpointNotFoundError: If there is no such checkpoint.
            CheckpointWriteError: If the pointer cannot be written; the old one stays.
        """
        path = self.path_of(name)
        if not (self._backend_of(path).isfile(path) or is_checkpoint_folder(path)):
            raise CheckpointNotFoundError(f"{path}: there is no such file to point to")
        if self._is_local:
            _write_pointer(self.path_of(POINTER), path)
        else:
            self._backend.put_text(path, self.path_of(POINTER))
        if also_in is not None:
            _write_pointer(os.path.join(also_in, POINTER), path)

    def pointer(self) -> str | None:
        """Return what the pointer says, whether that exists or not; None if there is no pointer."""
        pointer = self.path_of(POINTER)
        if not self._backend.exists(pointer):
            return None
        return self._backend.get_text(pointer).strip()

    def latest(self) -> str | None:
        """Return the path of the newest good checkpoint, or None if there is none.

        First comes the one that the pointer names, then the others that this package wrote, newest
        first, those called ``best_…`` last; if the pointer leads to another folder, those of that
        one before those of this one. Each is verified; `skipped` tells which were not good.
        """
        self.skipped = []
        seen: set[str] = set()
        for path in self._candidates():
            if path in seen:
                continue
            seen.add(path)
            try:
                self.verify(path)
            except CheckpointError as err:
                self.skipped.append((path, str(err).removeprefix(f"{path}: ")))
            else:
                return path
        return None

    def verify(self, name: str) -> FileCheck:
        """Check that a checkpoint is whole.

        Raises:
            CheckpointNotFoundError: If there is none of this name.
            CheckpointCorruptError: If it is cut or changed.
        """
        path = self.path_of(name)
        backend = self._backend_of(path)
        if isinstance(backend, LocalBackend):
            return verify_checkpoint(path)
        return _verify_remote(backend, path)

    def identity(self, name: str, *, as_written: bool = False) -> tuple[int, ...] | None:
        """Return what changes when another run writes a checkpoint of this name; else None.

        None is also the answer where nothing tells: for folders of shards, and in stores.

        Args:
            name: The checkpoint.
            as_written: Of the file that this process has just written, though another run may have
                replaced it in the meantime.
        """
        path = self.path_of(name)
        if not isinstance(self._backend_of(path), LocalBackend):
            return None
        return (written_identity(path) if as_written else None) or identity_of(path)

    def remove(self, name: str, *, only: tuple[int, ...] | None = None) -> None:
        """Remove a checkpoint and its manifest.

        Args:
            name: The checkpoint.
            only: Leave it if this is not its `identity` any more: another run has written it anew.

        Raises:
            CheckpointNotFoundError: If there is none of this name.
        """
        path = self.path_of(name)
        if only is not None:
            with folder_lock(path):  # nobody renames a file to this name meanwhile
                if self.identity(name) in (only, None):
                    self.remove(name)
            return
        if is_checkpoint_folder(path):
            remove_folder(path)
            return
        try:
            self._backend_of(path).remove(path)
        except FileNotFoundError as err:
            raise CheckpointNotFoundError(f"{path}: there is no such file to remove") from err
        if self._backend_of(path).exists(manifest_path(path)):
            self._backend_of(path).remove(manifest_path(path))

    def names(self, *, all_kinds: bool = False) -> list[str]:
        """Return the names of the checkpoints that this package wrote, newest first.

        Args:
            all_kinds: Also what others wrote: ``.pth``, ``.pt``, ``.ckpt`` and ``.safetensors``
                files, and folders of ``torch.distributed.checkpoint``.
        """
        if not self._backend.isdir(self.path):
            return []
        files = set(self._backend.list_dir_or_file(self.path, list_dir=False))
        written = {name for name in files if f"{name}{MANIFEST_SUFFIX}" in files}
        if all_kinds:
            written |= {name for name in files if name.endswith(_SUFFIXES)}
        written.update(self._folders(is_checkpoint_folder if all_kinds else is_sealed))
        return sorted(written, key=self._age, reverse=True)

    def entries(self) -> list[CheckpointEntry]:
        """Return the checkpoints that this package wrote, newest first, each verified."""
        latest = self.latest()
        entries = []
        for name in self.names():
            path = self.path_of(name)
            size, problem = 0, None
            try:
                size = self.verify(name).size_bytes
            except CheckpointError as err:
                problem = str(err).removeprefix(f"{path}: ")
            entries.append(CheckpointEntry(name, path, size, path == latest, problem))
        return entries

    def clean(self) -> list[str]:
        """Remove what killed writers left behind; what is in use stays.

        The first `write` does so, too, with what is older than ten minutes.

        Returns:
            The names that were removed.
        """
        if not self._is_local or not os.path.isdir(self.path):
            return []
        return remove_stale_temporaries(self.path)

    @property
    def _backend(self) -> BaseStorageBackend:
        return self._backend_of(self.path)

    def _backend_of(self, path: str) -> BaseStorageBackend:
        """The store of a path; a pointer may lead from a disk to a store."""
        is_here = path == self.path or path.startswith(os.path.join(self.path, ""))
        args = self.backend_args if is_here else self.elsewhere_args
        return get_file_backend(path, backend_args=args, enable_singleton=True)

    @property
    def _is_local(self) -> bool:
        return isinstance(self._backend, LocalBackend)

    def _folders(self, is_one: Callable[[str], bool]) -> list[str]:
        """Names of the folders that are checkpoints; only disks have such."""
        if not self._is_local:
            return []
        folders = self._backend.list_dir_or_file(self.path, list_file=False)
        return [n for n in folders if not n.startswith(".") and is_one(self.path_of(n))]

    def _candidates(self) -> Iterator[str]:
        target = self.pointer()
        if target is not None:
            beside = self.path_of(re.split(r"[/\\]", target)[-1])
            if self._backend_of(target).exists(target):
                yield target
            elif self._backend.exists(beside):  # the folder was moved since
                yield beside
            else:
                self.skipped.append((target, "the pointer names it, but it does not exist"))
            elsewhere = re.split(r"[/\\][^/\\]*$", target)[0]
            if elsewhere not in (target, self.path):
                yield from CheckpointFolder(elsewhere, self.elsewhere_args)._others()
        yield from self._others()

    def _others(self) -> Iterator[str]:
        names = [name for name in self.names() if not is_published(name)]  # those lack the rest
        yield from (self.path_of(name) for name in names if not name.startswith("best_"))
        yield from (self.path_of(name) for name in names if name.startswith("best_"))

    def _age(self, name: str) -> tuple[int, list[int], str]:
        numbers = [int(digits) for digits in re.findall(r"\d+", name)]
        if not self._is_local:  # stores do not tell times in one way; the number in a name must do
            return (0, numbers[-1:], name)
        try:
            return (Path(self.path_of(name)).stat().st_mtime_ns, numbers[-1:], name)
        except FileNotFoundError:  # removed meanwhile by another run
            return (0, [], name)


def find_latest_checkpoint(path: str | os.PathLike[str]) -> str | None:
    """Return the path of the newest good checkpoint of a run, or None.

    What is skipped on the way (cut, changed, gone) is logged as a warning, with the reason.

    Args:
        path: The folder of the run, or its URL.
    """
    folder = CheckpointFolder(path)
    latest = folder.latest()
    for skipped, reason in folder.skipped:
        print_log(f"checkpoint passed over: {skipped}: {reason}", "current", logging.WARNING)
    return latest


def _write_pointer(pointer: str, target: str) -> None:
    try:
        with atomic_write(pointer, "w") as file:
            file.write(target)
    except OSError as err:
        raise CheckpointWriteError(
            f"{pointer}: the pointer could not be moved: {err.strerror or err}"
        ) from err


def _verify_remote(backend: BaseStorageBackend, path: str) -> FileCheck:
    if not backend.isfile(path):
        raise CheckpointNotFoundError(f"{path}: there is no such file")
    with backend.get_local_path(path) as local:
        size = os.path.getsize(local)
        manifest = manifest_path(path)
        known = parse_manifest(backend.get_text(manifest)) if backend.exists(manifest) else None
        if known is None:
            verify_checkpoint(local)
            return FileCheck(path, size, "structure")
        digest = sha256_of_file(local)
        if all((size, digest) != (one.size, one.sha256) for one in known):
            raise CheckpointCorruptError(f"{path}: is not what its manifest says")
        return FileCheck(path, size, "sha256")
