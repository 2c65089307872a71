"""Making a checkpoint that can be handed on: what is asked for, and nothing else."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import torch

from drivetrain.checkpoint import CheckpointLoader
from drivetrain.fileio import put


def publish(path: str, keys: Sequence[str], backend_args: dict[str, Any] | None = None) -> str:
    """Write the entries ``keys`` of a checkpoint beside it; returns the path of the new file.

    The name ends in the first 8 digits of the file's SHA-256, so that a copy can be told from
    another.

    Raises:
        KeyError: If the checkpoint has no such entry; names those that it has.
    """
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location="cpu", logger="silent")
    missing = [key for key in keys if key not in checkpoint]
    if missing:
        raise KeyError(
            f"published_keys: {path} has no {', '.join(map(repr, missing))}; "
            f"it has {', '.join(map(repr, checkpoint))}"
        )
    file = io.BytesIO()
    torch.save({key: checkpoint[key] for key in keys}, file)
    digest = hashlib.sha256(file.getvalue()).hexdigest()[:8]
    published = f"{path.removesuffix('.pth')}-{digest}.pth"
    put(file.getvalue(), published, backend_args=backend_args)
    return published
