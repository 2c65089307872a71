"""Checkpoints that can be handed on: what is asked for, under a name that tells copies apart."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from drivetrain.checkpoint._write import fingerprint_of, save_checkpoint

_DIGITS = 8
_PUBLISHED = re.compile(rf"-[0-9a-f]{{{_DIGITS}}}\.\w+$")


def publish_checkpoint(
    checkpoint: Mapping[str, Any],
    filename: str | os.PathLike[str],
    backend_args: Mapping[str, Any] | None = None,
) -> str:
    """Write a checkpoint whose name ends in the first 8 digits of its SHA-256.

    `CheckpointLoader` checks such a file against its name when it downloads it.

    Args:
        checkpoint: As for `save_checkpoint`; leave out what is not for others.
        filename: Where to; ``best.pth`` becomes ``best-0676ba61.pth``.
        backend_args: Which storage backend to use, see `drivetrain.fileio.get_file_backend`.

    Returns:
        Path of the file.

    Raises:
        CheckpointError: As `save_checkpoint`.
    """
    stem, suffix = os.path.splitext(os.fspath(filename))
    path = f"{stem}-{fingerprint_of(checkpoint).sha256[:_DIGITS]}{suffix or '.pth'}"
    save_checkpoint(checkpoint, path, backend_args=backend_args)
    return path


def is_published(name: str) -> bool:
    """Whether a name is one that `publish_checkpoint` gives: not to go on from."""
    return _PUBLISHED.search(name) is not None
