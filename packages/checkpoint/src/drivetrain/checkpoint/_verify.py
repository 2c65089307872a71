"""Is this file a whole checkpoint?"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from typing import Literal

from drivetrain.checkpoint._errors import CheckpointCorruptError, CheckpointNotFoundError
from drivetrain.checkpoint._hashing import sha256_of_file
from drivetrain.checkpoint._manifest import read_manifest
from drivetrain.checkpoint._sharded import check_folder, is_checkpoint_folder

_LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # torch before 1.6
_REMEMBERED = 64


@dataclass(frozen=True)
class FileCheck:
    """A checkpoint that was found to be whole.

    Attributes:
        path: The file or folder.
        size_bytes: Its size.
        method: ``"sha256"``: it is byte for byte what was written. ``"structure"``: it has no
            manifest (another program wrote it), but its end is where it should be. ``"crc32"``: the
            same, and each of its parts has the checksum that its archive notes.
    """

    path: str
    size_bytes: int
    method: Literal["sha256", "crc32", "structure"]


def verify_checkpoint(path: str | os.PathLike[str], *, read_all: bool = False) -> FileCheck:
    """Check that a file or folder is a whole checkpoint; by checksum where it has a manifest.

    A file that did not change since this process checked it is not read again.

    Args:
        path: The file or folder.
        read_all: Read a file without a manifest to its end, and check what its archive notes.

    Raises:
        CheckpointNotFoundError: If there is no such file.
        CheckpointCorruptError: If it is cut or changed. The error says in which way.
    """
    path = os.fspath(path)
    if is_checkpoint_folder(path):
        size, by_checksum = check_folder(path)
        return FileCheck(path, size, "sha256" if by_checksum else "structure")
    if not os.path.isfile(path):
        raise CheckpointNotFoundError(f"{path}: there is no such file")
    signature = _signature(path)
    if signature not in _good:
        check = _check(path)
        if len(_good) >= _REMEMBERED:
            _good.pop(next(iter(_good)))
        _good[signature] = check
    if read_all and _good[signature].method == "structure" and zipfile.is_zipfile(path):
        _good[signature] = _check_parts(path)
    return _good[signature]


_Signature = tuple[str, int, int, int, int, object]
_good: dict[_Signature, FileCheck] = {}  # results by what would change with the file


def _signature(path: str) -> _Signature:
    status = os.stat(path)
    return (
        path,
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        read_manifest(path),
    )


def _check(path: str) -> FileCheck:
    size = os.path.getsize(path)
    fingerprints = read_manifest(path)
    if fingerprints is None:
        _check_structure(path, size)
        return FileCheck(path, size, "structure")
    candidates = [known for known in fingerprints if known.size == size]
    if not candidates:
        wanted = " or ".join(str(known.size) for known in fingerprints)
        raise CheckpointCorruptError(f"{path}: has {size} bytes, its manifest says {wanted}")
    digest = sha256_of_file(path)
    if all(known.sha256 != digest for known in candidates):
        raise CheckpointCorruptError(
            f"{path}: its bytes changed since it was written "
            f"(SHA-256 {digest[:12]}…, its manifest says {candidates[0].sha256[:12]}…)"
        )
    return FileCheck(path, size, "sha256")


def _check_structure(path: str, size: int) -> None:
    if size == 0:
        raise CheckpointCorruptError(f"{path}: is empty")
    with open(path, "rb") as file:
        start = file.read(len(_LEGACY_MAGIC))
    if start == _LEGACY_MAGIC:  # a stream of pickles: only reading all of it would tell more
        return
    if path.endswith(".safetensors"):
        _check_safetensors(path, size)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as err:
        raise CheckpointCorruptError(
            f"{path}: is cut, or no checkpoint ({size} bytes, no manifest): {err}"
        ) from err
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointCorruptError(f"{path}: is an archive, but not one that torch.save wrote")


def _check_parts(path: str) -> FileCheck:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointCorruptError(f"{path}: its part {damaged} changed since it was written")
    return FileCheck(path, os.path.getsize(path), "crc32")


def _check_safetensors(path: str, size: int) -> None:
    with open(path, "rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        header = file.read(header_bytes) if header_bytes < size else b""
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name[:2] != "__"]
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise CheckpointCorruptError(f"{path}: is cut, or not in the safetensors format") from err
    wanted = 8 + header_bytes + max(ends, default=0)
    if size != wanted:
        raise CheckpointCorruptError(f"{path}: has {size} bytes, its header says {wanted}")
