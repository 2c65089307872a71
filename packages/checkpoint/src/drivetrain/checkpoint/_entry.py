"""One line of a folder's list of checkpoints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckpointEntry:
    """A checkpoint of a folder.

    Attributes:
        name: In the folder.
        path: Name and folder.
        size_bytes: Its size; 0 if it is damaged.
        is_latest: Whether a run would go on from it.
        problem: What is wrong with it, or None if it is whole.
    """

    name: str
    path: str
    size_bytes: int
    is_latest: bool
    problem: str | None
