"""Find and read what a run recorded: lines of JSON, one a record."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from drivetrain.visualization._errors import RunDataError, RunNotFoundError

RECORDS = "vis_data/scalars.json"
TIMESTAMP = re.compile(r"\d{8}_\d{6}")
NOT_CURVES = ("mode", "step", "iter", "epoch", "samples", "wall_time")
Record = dict[str, Any]


@dataclass
class Curve:
    """The values of one name over the steps of a run."""

    name: str
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        """Append a point; a step that was run again (after a resume) replaces what it gave."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()
        self.steps.append(step)
        self.values.append(value)


@dataclass
class RunRecords:
    """The curves of a run, by phase, and where its epochs end.

    Args:
        name: What the run is called.
        train: Curves of the training.
        val: Curves of the validation.
        test: Curves of the test.
        epochs: For each step with a record of training, the epoch that it belongs to.
        epoch_ends: For each step with a validation, the epoch that it followed.
    """

    name: str
    train: dict[str, Curve] = field(default_factory=dict)
    val: dict[str, Curve] = field(default_factory=dict)
    test: dict[str, Curve] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    epoch_ends: dict[int, int] = field(default_factory=dict)

    @property
    def steps_per_epoch(self) -> int | None:
        """How many steps an epoch has, where the records tell."""
        at_ends = {step / epoch for step, epoch in self.epoch_ends.items() if epoch}
        if (
            len(at_ends) == 1
            and len(self.epoch_ends) > 1
            and (length := at_ends.pop()).is_integer()
        ):
            return int(length)
        return only_epoch_length(self.epochs)


def read_run(source: str | os.PathLike[str]) -> tuple[RunRecords, Path]:
    """Read the records of a run.

    Args:
        source: A file of JSON lines; or a folder, in which the newest run counts. If that one went
            on from an earlier one in the same folder, the earlier part comes first.

    Returns:
        The records, and the file that the newest of them are in.

    Raises:
        RunNotFoundError: If there is no such file or folder, or no records in the folder.
        RunDataError: If there is nothing to draw among the records.
    """
    path = Path(source)
    if path.is_dir():
        files = _record_files(path)
        if not files:
            raise RunNotFoundError(
                f"no records of a run in {os.fspath(path)!r}.\n"
                "  They are in <timestamp>/vis_data/scalars.json, written by LocalVisBackend."
            )
    elif path.is_file():
        files = [path]
    else:
        raise RunNotFoundError(f"no records of a run: there is no {os.fspath(path)!r}")
    records = _joined([_read_lines(file) for file in files])
    run = RunRecords(_run_name(path, files[-1]))
    for record in records:
        _take_in(run, record)
    if not (run.train or run.val or run.test):
        raise RunDataError(f"{os.fspath(files[-1])!r} has no number to draw")
    return run, files[-1]


def _record_files(folder: Path) -> list[Path]:
    """Return the files of scalars of a folder, the oldest first.

    A folder of one run may lie beside those of the runs that it went on from: they count, too.
    """
    own = [path for path in (folder / "scalars.json", folder / RECORDS) if path.is_file()]
    if own:
        newest = max(own, key=_age)
        beside = (
            folder.resolve().parent.glob(f"*/{RECORDS}") if TIMESTAMP.match(_name(folder)) else ()
        )
        return sorted({newest, *(file for file in beside if _age(file) < _age(newest))}, key=_age)
    return sorted(folder.glob(f"*/{RECORDS}"), key=_age)


def _age(file: Path) -> tuple[int, Path]:
    return file.stat().st_mtime_ns, file


def _name(folder: Path) -> str:
    return folder.resolve().name


def only_epoch_length(epochs: dict[int, int]) -> int | None:
    """Return how many steps an epoch has, if the records leave only one possibility.

    Example:
        >>> only_epoch_length({50: 1, 100: 1, 101: 2, 290: 3})
        100
    """
    at_least = max((math.ceil(step / epoch) for step, epoch in epochs.items() if epoch), default=0)
    later = [(step - 1) // (epoch - 1) for step, epoch in epochs.items() if epoch > 1]
    return at_least if later and min(later) == at_least else None


def _run_name(source: Path, file: Path) -> str:
    """Return the name of the work folder, not that of the folder of a timestamp inside of it."""
    folders = [source.resolve()] if source.is_dir() else [*file.resolve().parents]
    for folder in (*folders, *folders[0].parents):
        if folder.name != "vis_data" and not TIMESTAMP.match(folder.name):
            return folder.name
    return file.stem


def _read_lines(file: Path) -> list[Record]:
    """Read records; a last line that a killed process left unfinished is passed over.

    Raises:
        RunDataError: If another line is no JSON object.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError as err:
            if number == len(lines):
                break
            raise RunDataError(f"{os.fspath(file)}:{number}: this line is no JSON: {err}") from err
        if not isinstance(record, dict):
            raise RunDataError(f"{os.fspath(file)}:{number}: a record must be a JSON object")
        records.append(record)
    return records


def _joined(runs: list[list[Record]]) -> list[Record]:
    """Return the newest run, after those that it went on from."""
    records = runs[-1]
    for earlier in reversed(runs[:-1]):
        first, interval = _first_step(records), _interval(records)
        if first is None or first <= 1.5 * interval:
            break  # it began at the beginning
        head = [record for record in earlier if record.get("step", 0) < first]
        last = max((record.get("step", 0) for record in head), default=0)
        if last < first - 3 * interval:
            break  # a gap: that was another run
        records = head + records
    return records


def _train_steps(records: Iterable[Record]) -> list[int]:
    return sorted({r["step"] for r in records if r.get("mode", "train") == "train" and "step" in r})


def _first_step(records: list[Record]) -> int | None:
    steps = _train_steps(records)
    return steps[0] if steps else None


def _interval(records: list[Record]) -> float:
    steps = _train_steps(records)
    return median(b - a for a, b in pairwise(steps)) if len(steps) > 1 else 1.0


def _take_in(run: RunRecords, record: Record) -> None:
    mode = record.get("mode") or ("train" if "lr" in record or "loss" in record else "val")
    curves = {"train": run.train, "val": run.val, "test": run.test}.get(mode)
    step = record.get("iter", record.get("step"))  # the step of a validation may be an epoch
    if curves is None or not isinstance(step, (int, float)):
        return
    if mode in ("train", "val") and isinstance(record.get("epoch"), int):
        (run.epochs if mode == "train" else run.epoch_ends)[int(step)] = record["epoch"]
    for name, value in record.items():
        if name not in NOT_CURVES and isinstance(value, (int, float)):
            curves.setdefault(name, Curve(name)).add(int(step), float(value))
