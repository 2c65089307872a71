"""Finding at the start what would otherwise show as a hang or a wrong result: ranks that differ."""

from __future__ import annotations

from collections.abc import Mapping

from torch.distributed import ProcessGroup

from drivetrain.dist._errors import DataMismatchError
from drivetrain.dist._objects import all_gather_object


def check_agreement(facts: Mapping[str, object], group: ProcessGroup | None = None) -> None:
    """Make sure that every rank brings the same facts; nothing without a process group.

    Args:
        facts: By name, e.g. versions or settings; compared by ``==``.
        group: All ranks by default.

    Raises:
        DataMismatchError: On every rank, if any differ; says which, where and how.
    """
    gathered = all_gather_object(dict(facts), group)
    lines = []
    for name in sorted({name for theirs in gathered for name in theirs}):
        values = [theirs.get(name) for theirs in gathered]
        if any(value != values[0] for value in values):
            ranks = ", ".join(f"rank {rank}: {value!r}" for rank, value in enumerate(values))
            lines.append(f"  {name}:  {_shortened(ranks)}")
    if lines:
        raise DataMismatchError("The ranks were not started alike:\n" + "\n".join(lines))


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else text[:297] + "..."
