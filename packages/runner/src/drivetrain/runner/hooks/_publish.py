"""Making a checkpoint that can be handed on: what is asked for, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from drivetrain.checkpoint import CheckpointLoader, publish_checkpoint
from drivetrain.dist import run_on_main
from drivetrain.dist.strategy import load_sharded


def publish(
    path: str, keys: Sequence[str], backend_args: dict[str, Any] | None = None
) -> str | None:
    """Write the entries ``keys`` of a checkpoint beside it; called on all ranks.

    The name ends in the first 8 digits of the file's SHA-256, so that a copy can be told from
    another. Keys that the checkpoint lacks are left out; a folder of shards becomes one file.

    Returns:
        Path of the new file, on rank 0.
    """
    if os.path.isdir(path):  # shards: all ranks read, and rank 0 writes
        checkpoint = load_sharded(path, None)
        return run_on_main(lambda: publish_checkpoint(_only(checkpoint, keys), path))

    def publish_file() -> str:
        whole = CheckpointLoader.load_checkpoint(path, map_location="cpu", logger="silent")
        return publish_checkpoint(_only(whole, keys), path, backend_args)

    return run_on_main(publish_file)


def _only(checkpoint: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: checkpoint[key] for key in keys if key in checkpoint}
