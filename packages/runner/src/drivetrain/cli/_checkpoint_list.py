"""``drivetrain checkpoint ls``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from drivetrain.checkpoint import CheckpointError, CheckpointFolder, CheckpointNotFoundError
from drivetrain.cli._checkpoint_facts import (
    changed,
    columns,
    file_size,
    mapping,
    or_dash,
    outline,
    position,
    same_path,
    size_text,
)
from drivetrain.fileio import isdir


@dataclass
class Row:
    """One line of the list.

    Attributes:
        latest: Whether a run would go on from it.
        best: The metrics that it is the best of, with their values.
    """

    name: str
    path: str
    good: bool
    problem: str | None = None
    epoch: int | None = None
    step: int | None = None
    size_bytes: int | None = None
    saved: str | None = None
    latest: bool = False
    best: dict[str, float | None] = field(default_factory=dict)


def list_text(path: str, *, as_json: bool) -> str:
    """The checkpoints of a folder, newest first, as text or JSON.

    Raises:
        CheckpointNotFoundError: If there is no such folder.
    """
    folder = _folder(path)
    latest = folder.latest()
    rows, newest_step, best = [], -1, {}
    for place in _places(folder):
        for name in place.names(all_kinds=True):
            row, content = _row(place, name)
            row.latest = latest is not None and same_path(row.path, latest)
            rows.append(row)
            known = _best_in(content or {})
            if known and (row.step or 0) > newest_step:
                newest_step, best = row.step or 0, known
    for row in rows:
        row.best = best.get(row.name, {})
    if as_json:
        return json.dumps([asdict(row) for row in rows], indent=2)
    return _table(path, folder, rows)


def _folder(path: str) -> CheckpointFolder:
    if os.path.isfile(path):
        raise CheckpointNotFoundError(
            f"{path}: is a file, not the folder of a run.\n  Do:  drivetrain checkpoint show {path}"
        )
    if not isdir(path):
        raise CheckpointNotFoundError(f"{path}: there is no such folder")
    return CheckpointFolder(path)


def _places(folder: CheckpointFolder) -> Iterator[CheckpointFolder]:
    """The folder, and the one that its pointer leads to: a store, for instance."""
    yield folder
    target = folder.pointer()
    if target is not None and "/" in target:
        elsewhere = target.rsplit("/", 1)[0]
        if not same_path(elsewhere, folder.path) and isdir(elsewhere):
            yield CheckpointFolder(elsewhere)


def _row(folder: CheckpointFolder, name: str) -> tuple[Row, Mapping[str, Any] | None]:
    path = folder.path_of(name)
    try:
        size = folder.verify(name).size_bytes
        content = outline(path)
    except (CheckpointError, RuntimeError) as err:  # a folder of shards that lacks files, too
        problem = str(err).removeprefix(f"{path}: ").splitlines()[0]
        row = Row(name, path, False, problem, size_bytes=file_size(path), saved=changed(path))
        return row, None
    row = Row(name, path, True, size_bytes=size, saved=changed(path))
    row.epoch, row.step, saved = position(content)
    row.saved = saved or row.saved
    return row, content


def _best_in(content: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """By name of a file, the metrics that it is the best of, as a checkpoint's hooks know it."""
    found: dict[str, dict[str, float | None]] = {}
    for state in mapping(content.get("hooks")).values():
        entries = mapping(state).get("best")
        for entry in entries if isinstance(entries, list) else ():  # other hooks have a best, too
            if isinstance(entry, Mapping) and entry.get("name"):
                found.setdefault(entry["name"], {})[entry["key"]] = entry["value"]
    return found


def _table(path: str, folder: CheckpointFolder, rows: Sequence[Row]) -> str:
    if not rows:
        return f"{path}: no checkpoints"
    cells = [("NAME", "STEP", "EPOCH", "SIZE", "SAVED", "STATE")]
    cells += [
        (
            row.name if same_path(folder.path_of(row.name), row.path) else row.path,
            or_dash(row.step),
            or_dash(row.epoch),
            size_text(row.size_bytes),
            or_dash(row.saved).replace("T", " "),
            "; ".join(_state(row)),
        )
        for row in rows
    ]
    lines = columns(cells, right=(1, 2, 3))
    pointer = folder.pointer()
    if pointer is not None and folder.latest() != pointer:
        lines += [f"passed over: {skipped}: {reason}" for skipped, reason in folder.skipped]
    return "\n".join(lines)


def _state(row: Row) -> list[str]:
    if not row.good:
        return [f"broken: {row.problem}"]
    best = [
        f"best {metric}" if value is None else f"best {metric} {value:.4g}"
        for metric, value in row.best.items()
    ]
    return ["good", *(["latest"] if row.latest else []), *best]
