"""Checkpoints that are folders: files of several ranks, listed in one manifest.

A folder counts as a checkpoint if ``torch.distributed.checkpoint`` wrote it (it holds
``.metadata``) or if it was sealed: then ``manifest.json`` in it lists size and SHA-256 of every
file.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict

from drivetrain.checkpoint._errors import CheckpointCorruptError
from drivetrain.checkpoint._hashing import sha256_of_file
from drivetrain.checkpoint._manifest import Fingerprint
from drivetrain.fileio import atomic_write

FOLDER_MANIFEST = "manifest.json"
_DCP_METADATA = ".metadata"
_FORMAT = 1


def seal_folder(path: str | os.PathLike[str]) -> None:
    """List size and checksum of every file of a folder in it, so that it can be verified.

    Call it when all ranks have written, before the folder takes its final name.
    """
    root = os.fspath(path)
    files = {
        name: asdict(Fingerprint(os.path.getsize(file), sha256_of_file(file)))
        for name, file in _files(root)
    }
    with atomic_write(os.path.join(root, FOLDER_MANIFEST), "w") as manifest:
        json.dump({"format": _FORMAT, "files": files}, manifest, indent=1)


def is_checkpoint_folder(path: str) -> bool:
    """Whether there is a folder that is a checkpoint, whole or not."""
    return any(os.path.isfile(os.path.join(path, n)) for n in (FOLDER_MANIFEST, _DCP_METADATA))


def is_sealed(path: str) -> bool:
    """Whether a folder has a manifest."""
    return os.path.isfile(os.path.join(path, FOLDER_MANIFEST))


def check_folder(path: str) -> tuple[int, bool]:
    """Check the files of a folder.

    Returns:
        Their size in bytes, and whether they were checked by checksum.

    Raises:
        CheckpointCorruptError: If one is missing, cut or changed.
    """
    listed = _listed(path)
    present = dict(_files(path))
    if listed is None:
        if os.path.getsize(os.path.join(path, _DCP_METADATA)) == 0 or len(present) < 2:
            raise CheckpointCorruptError(f"{path}: this folder of shards is not complete")
        return sum(os.path.getsize(file) for file in present.values()), False
    for name, wanted in listed.items():
        if name not in present:
            raise CheckpointCorruptError(f"{path}: its file {name} is missing")
        size = os.path.getsize(present[name])
        if size != wanted.size:
            raise CheckpointCorruptError(
                f"{path}: its file {name} has {size} bytes, its manifest says {wanted.size}"
            )
        if sha256_of_file(present[name]) != wanted.sha256:
            raise CheckpointCorruptError(
                f"{path}: the bytes of its file {name} changed since it was written"
            )
    return sum(wanted.size for wanted in listed.values()), True


def remove_folder(path: str) -> None:
    """Remove a checkpoint folder; a kill in the middle leaves nothing that looks like one."""
    parent, name = os.path.split(os.path.abspath(path))
    hidden = os.path.join(parent, f".{name}.{os.urandom(4).hex()}.removed")
    os.rename(path, hidden)
    shutil.rmtree(hidden)


def copy_folder(source: str, path: str) -> None:
    """Copy a checkpoint folder; what stands under the new name is replaced when the copy is whole.

    A kill in the middle leaves nothing that looks like one.
    """
    parent, name = os.path.split(os.path.abspath(path))
    hidden = os.path.join(parent, f".{name}.{os.urandom(4).hex()}.tmp")
    try:
        shutil.copytree(source, hidden)
        if os.path.isdir(path):
            remove_folder(path)
        os.rename(hidden, path)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def _listed(path: str) -> dict[str, Fingerprint] | None:
    try:
        with open(os.path.join(path, FOLDER_MANIFEST), encoding="utf-8") as file:
            content = json.load(file)
        if content["format"] != _FORMAT:
            return None
        return {name: Fingerprint(**entry) for name, entry in content["files"].items()}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as err:
        # Unlike a lone file's manifest, this one is all that tells which files belong here.
        raise CheckpointCorruptError(f"{path}: its {FOLDER_MANIFEST} cannot be read") from err


def _files(root: str) -> Iterator[tuple[str, str]]:
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root).replace(os.sep, "/")
            if relative != FOLDER_MANIFEST:
                yield relative, path
