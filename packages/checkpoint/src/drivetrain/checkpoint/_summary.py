"""What is in a checkpoint, for people."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from drivetrain.checkpoint._plain import tensors_in
from drivetrain.checkpoint._read import read_checkpoint_file
from drivetrain.checkpoint._verify import verify_checkpoint

_MAX_TEXT = 72


@dataclass(frozen=True)
class CheckpointSummary:
    """What is in a checkpoint.

    Attributes:
        path: The file.
        size_bytes: Its size.
        checked_by: ``"sha256"`` or ``"structure"``, see `FileCheck`.
        sections: For each key of the checkpoint, one line about its value.
    """

    path: str
    size_bytes: int
    checked_by: str
    sections: Mapping[str, str]

    def __str__(self) -> str:
        width = max((len(name) for name in self.sections), default=0)
        lines = [f"{self.path}  {self.size_bytes:,} bytes, verified by {self.checked_by}"]
        lines += [f"  {name:<{width}}  {text}" for name, text in self.sections.items()]
        return "\n".join(lines)


def summarize_checkpoint(
    path: str | os.PathLike[str], *, weights_only: bool = True
) -> CheckpointSummary:
    """Verify a local checkpoint file, and say what it holds.

    Args:
        path: The file.
        weights_only: False lets the file run code. Only for files that you trust.

    Raises:
        CheckpointError: As `read_checkpoint_file` does.
    """
    check = verify_checkpoint(path)
    # The meta device keeps shapes and types of tensors, and takes no memory for their values.
    content = read_checkpoint_file(path, "meta", weights_only=weights_only)
    sections = content if isinstance(content, Mapping) else {"": content}
    if sections and all(isinstance(value, torch.Tensor) for value in sections.values()):
        sections = {"(weights)": sections}
    lines = {str(name): _line(value) for name, value in sections.items()}
    return CheckpointSummary(check.path, check.size_bytes, check.method, lines)


def _line(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"tensor {tuple(value.shape)}, {_dtype(value)}"
    tensors = list(tensors_in(value))
    if tensors:
        counts = Counter(_dtype(tensor) for tensor in tensors)
        types = ", ".join(name for name, _ in counts.most_common())
        values = sum(tensor.numel() for tensor in tensors)
        return f"{len(tensors):,} tensors, {values:,} values, {types}"
    if isinstance(value, Mapping):
        return _shortened(", ".join(f"{key}: {item!r}" for key, item in value.items()) or "empty")
    return _shortened(repr(value))


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"
