"""What a checkpoint says of itself, and how it is put into text."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import torch

from drivetrain.checkpoint import (
    CheckpointContentError,
    CheckpointFolder,
    CheckpointLoader,
    CheckpointNotFoundError,
    FileCheck,
    is_checkpoint_folder,
    verify_checkpoint,
)
from drivetrain.dist.strategy import outline_sharded

_TIME = "%Y%m%d_%H%M%S"


def check_one(path: str) -> FileCheck:
    """Verify one checkpoint: a file, a folder of shards, or a URL.

    Raises:
        CheckpointNotFoundError: If there is none.
        CheckpointCorruptError: If it is cut or changed.
    """
    if os.path.isdir(path) and not is_checkpoint_folder(path):
        raise CheckpointNotFoundError(
            f"{path}: is a folder, and not one of shards.\n  Do:  drivetrain checkpoint ls {path}"
        )
    return CheckpointFolder(".").verify(path) if "://" in path else verify_checkpoint(path)


def outline(path: str) -> Mapping[str, Any]:
    """What a checkpoint holds, with tensors that have shapes and no values."""
    if os.path.isdir(path):
        own = os.path.join(path, "rank0.pth")
        if not os.path.isfile(own):
            return outline_sharded(path)
        path = own
    content = CheckpointLoader.load_checkpoint(path, "meta", "silent")
    if isinstance(content, Mapping):
        is_bare = bool(content) and all(isinstance(v, torch.Tensor) for v in content.values())
        return {"state_dict": content} if is_bare else content
    raise CheckpointContentError(f"{path}: holds a {type(content).__name__}, not a dict")


def position(content: Any) -> tuple[int | None, int | None, str | None]:
    """Finished epochs and steps, and when it was saved, as far as a checkpoint says so."""
    meta, progress = mapping(content.get("meta")), mapping(content.get("progress"))
    epoch = progress.get("epoch", meta.get("epoch"))
    step = progress.get("iter", meta.get("iter"))
    saved = meta.get("time")
    if isinstance(saved, str) and re.fullmatch(r"\d{8}_\d{6}", saved):
        saved = datetime.strptime(saved, _TIME).isoformat()
    return epoch, step, saved if isinstance(saved, str) else None


def columns(cells: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lines of aligned text."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            text.rjust(widths[i]) if i in right else text.ljust(widths[i])
            for i, text in enumerate(row)
        ).rstrip()
        for row in cells
    ]


def size_text(size_bytes: float | None) -> str:
    """Bytes for people."""
    if size_bytes is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping as it is; anything else as an empty one."""
    return value if isinstance(value, Mapping) else {}


def file_size(path: str) -> int | None:
    """Size of a file of this disk."""
    return os.path.getsize(path) if os.path.isfile(path) else None


def changed(path: str) -> str | None:
    """When a path of this disk was last written."""
    if not os.path.exists(path):
        return None
    return datetime.fromtimestamp(int(os.path.getmtime(path))).isoformat()


def or_dash(value: Any) -> str:
    """Text of a value."""
    return "-" if value is None else str(value)


def same_path(path: str, other: str) -> bool:
    """Whether two paths are one place."""
    return path == other or (
        "://" not in path and os.path.realpath(path) == os.path.realpath(other)
    )
