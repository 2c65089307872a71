"""The proof: train twice, train killed and resumed, and compare step by step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from drivetrain.testing._errors import TrialError
from drivetrain.testing._recorder import CLOCK
from drivetrain.testing._report import Comparison, Finding, ResumeReport
from drivetrain.testing._trial import Trial, run_in_processes

_KILLED = -9
_DEFAULT_STEPS = 12

#: In the order in which one leads to the next; ``attributes`` are no proof, but name suspects.
_PARTS = (
    "weights",
    "optimizer",
    "schedules",
    "state of hooks",
    "random state",
    "log history",
    "sample order",
    "samples",
    "outputs",
    "metrics",
    "records",
)

Steps = dict[int, dict[str, dict[str, str]]]


def prove(
    config: str,
    overrides: Sequence[str],
    folder: Path,
    *,
    steps: int | None,
    kill_at: Sequence[int],
    ranks: int,
    timeout_s: float,
) -> ResumeReport:
    """Run all trainings of a proof, forked from this process, and compare them."""
    whole = Trial(
        config, tuple(overrides), folder, "whole", "whole", steps or _DEFAULT_STEPS, ranks=ranks
    )
    _run(whole, 0, timeout_s)
    expected = [_steps_of(whole, rank) for rank in range(ranks)]
    made = max((step for step in expected[0] if "outputs" in expected[0][step]), default=-1) + 1
    kills = _kills(kill_at, made)
    repeated = replace(whole, name="repeated", work_dir="repeated")
    _run(repeated, 0, timeout_s)
    again = [_steps_of(repeated, rank) for rank in range(ranks)]
    comparisons = [_compare("the same training once more", expected, again, from_step=0)]
    noise = [_noise(*both) for both in zip(expected, again, strict=True)]
    for kill in kills:
        work_dir = f"killed_{kill}"
        killed = replace(whole, name=work_dir, work_dir=work_dir, save_after=kill)
        _run(killed, _KILLED, timeout_s)
        resumed = replace(whole, name=f"resumed_{kill}", work_dir=work_dir, resume=True)
        _run(resumed, 0, timeout_s)
        found = [_steps_of(resumed, rank) for rank in range(ranks)]
        title = f"saved after step {kill}, killed in step {kill + 1}, resumed"
        comparisons.append(_compare(title, expected, found, from_step=kill, noise=noise))
    return ResumeReport(config, made, kills, comparisons)


def _kills(wanted: Sequence[int], made: int) -> list[int]:
    """Steps to kill after; by default one after each third of the training."""
    if made < 3:
        raise TrialError(f"the training has {made} steps; a proof needs at least 3")
    kills = sorted(set(wanted)) or sorted({max(1, made // 3), 2 * made // 3})
    if kills[0] < 1 or kills[-1] > made - 2:
        raise TrialError(
            f"kill_at: of {made} steps, a training can be saved after steps 1 to {made - 2}, got "
            f"{', '.join(map(str, kills))}"
        )
    return kills


def _run(trial: Trial, expected_code: int, timeout_s: float) -> None:
    codes = run_in_processes(trial, timeout_s)
    for rank, code in enumerate(codes):
        if code != expected_code and not (expected_code == _KILLED and code == 0):
            text = trial.output(rank).read_text(errors="replace").strip()
            raise TrialError(f"training {trial.name!r} ended with code {code}:\n{text[-3000:]}")


def _steps_of(trial: Trial, rank: int) -> Steps:
    """What a rank has written down: parts by the step that they belong to."""
    steps: Steps = {}
    for line in trial.trace(rank).read_text().splitlines():
        parts = json.loads(line)
        steps.setdefault(parts.pop("step"), {}).update(parts)
    if rank == 0:
        for step, record in _records_of(trial):
            steps.setdefault(step, {})["records"] = record
    return steps


def _records_of(trial: Trial) -> list[tuple[int, dict[str, str]]]:
    """The JSON records of the last start, by the index of the step that they were written in."""
    files = sorted((trial.folder / trial.work_dir).glob("*/vis_data/scalars.json"))
    records: list[tuple[int, dict[str, str]]] = []
    for line in files[-1].read_text().splitlines() if files else ():
        record = json.loads(line)
        if record.get("mode") == "train":
            plain = {k: repr(v) for k, v in record.items() if k not in CLOCK}
            records.append((record["step"] - 1, plain))
    return records


def _noise(left: Steps, right: Steps) -> set[tuple[str, str]]:
    """Attributes that differ between equal trainings, such as paths and times."""
    return {
        (part, name)
        for step in left.keys() & right.keys()
        for part in ("attributes",)
        for name, _, _ in _unequal(left[step].get(part, {}), right[step].get(part, {}))
    }


def _compare(
    title: str,
    expected: list[Steps],
    found: list[Steps],
    from_step: int,
    noise: list[set[tuple[str, str]]] | None = None,
) -> Comparison:
    firsts = []
    for rank, (left, right) in enumerate(zip(expected, found, strict=True)):
        for step in sorted(step for step in left if step >= from_step):
            findings = [
                Finding(part, name, old, new, rank)
                for part in _PARTS
                for name, old, new in _unequal(
                    left[step].get(part, {}), right.get(step, {}).get(part, {})
                )
            ]
            if findings:
                firsts.append((step, rank, findings))
                break
    if not firsts:
        return Comparison(title)
    step, rank, findings = min(firsts, key=lambda first: first[:2])
    known = noise[rank] if noise is not None else set()
    attributes = (steps[rank].get(step, {}).get("attributes", {}) for steps in (expected, found))
    suspects = [
        Finding("attributes", name, old, new, rank)
        for name, old, new in _unequal(*attributes)
        if ("attributes", name) not in known
    ]
    return Comparison(title, step + 1, findings, suspects)


def _unequal(left: Mapping[str, str], right: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Names whose texts differ, with both texts."""
    names: dict[str, Any] = dict.fromkeys([*left, *right])
    pairs = ((name, left.get(name, "nothing"), right.get(name, "nothing")) for name in names)
    return [(name, old, new) for name, old, new in pairs if old != new]
