"""What a checkpoint file must look like: size and checksum, in a small file beside it.

``epoch_3.pth.manifest.json`` holds ``{"format": 1, "files": [{"size": …, "sha256": …}]}``. It is
written before the checkpoint takes its name. When a file is replaced, both the new and the old
content are listed until the rename is done, so a kill between the two steps never makes a good file
look bad.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from drivetrain.fileio import atomic_write

MANIFEST_SUFFIX = ".manifest.json"
_FORMAT = 1


@dataclass(frozen=True)
class Fingerprint:
    """Size in bytes, and SHA-256 as hexadecimal digits."""

    size: int
    sha256: str


def manifest_path(checkpoint: str | os.PathLike[str]) -> str:
    """Where the manifest of a checkpoint lies."""
    return f"{os.fspath(checkpoint)}{MANIFEST_SUFFIX}"


def read_manifest(checkpoint: str | os.PathLike[str]) -> tuple[Fingerprint, ...] | None:
    """Return what the file may look like, or None if nobody said so.

    A manifest that cannot be understood counts as none: the file is then checked by its structure.
    """
    try:
        text = Path(manifest_path(checkpoint)).read_text(encoding="utf-8")
        return parse_manifest(text)
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def parse_manifest(text: str) -> tuple[Fingerprint, ...] | None:
    """Return the fingerprints of a manifest's text, or None if it is none."""
    try:
        content = json.loads(text)
        if content["format"] != _FORMAT:
            return None
        return tuple(Fingerprint(int(f["size"]), str(f["sha256"])) for f in content["files"])
    except (ValueError, KeyError, TypeError):
        return None


def manifest_text(fingerprints: tuple[Fingerprint, ...]) -> str:
    """Return the text of a manifest."""
    return json.dumps({"format": _FORMAT, "files": [asdict(f) for f in fingerprints]}) + "\n"


def announce(checkpoint: str | os.PathLike[str], new: Fingerprint) -> None:
    """Say what is about to take this name; what has it now stays listed."""
    old = read_manifest(checkpoint) or () if os.path.exists(checkpoint) else ()
    _write(checkpoint, (new, *(known for known in old if known != new)))


def settle(checkpoint: str | os.PathLike[str], new: Fingerprint) -> None:
    """Say that only this content is right from now on."""
    if read_manifest(checkpoint) != (new,):
        _write(checkpoint, (new,))


def _write(checkpoint: str | os.PathLike[str], fingerprints: tuple[Fingerprint, ...]) -> None:
    with atomic_write(manifest_path(checkpoint), "w") as file:
        file.write(manifest_text(fingerprints))
