"""Proofs that users call, in their tests and from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drivetrain.config import Config, DumpError
from drivetrain.testing._errors import ResumeNotExactError, TrialError
from drivetrain.testing._report import ResumeReport


def verify_resume(
    config: str | Path | Config | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    steps: int | None = None,
    kill_at: Sequence[int] | int = (),
    ranks: int = 1,
    timeout_s: float = 600.0,
) -> ResumeReport:
    """Prove that a training that is killed and resumed is the one that was never killed.

    Trains twice without interruption; then, for each of ``kill_at``, trains in a process that saves
    after that step and is killed by SIGKILL in the next one, resumes it in another process, and
    compares all steps from there on: weights, optimizer, schedules, random states, states of hooks,
    log history, which samples come and what is in them, outputs, metrics and records. All of it
    happens in a temporary folder. A config without a seed gets one.

    Args:
        config: Path of a config file; or a config that can be written into one.
        overrides: Changes to it, such as ``"train_dataloader.num_workers=2"``.
        steps: Steps to compare; 12, or as many as the training has, by default.
        kill_at: Steps after which to save; by default one and two thirds of ``steps``.
        ranks: Processes that train together.
        timeout_s: After this many seconds, a single training counts as stuck.

    Returns:
        What was found; ``str()`` of it is for people.

    Raises:
        TrialError: If a training fails, is shorter than it needs to be, or the config cannot be
            written into a file.
    """
    if not hasattr(os, "fork"):
        raise TrialError("verify_resume: needs os.fork, which this system does not have")
    kills = [kill_at] if isinstance(kill_at, int) else list(kill_at)
    with tempfile.TemporaryDirectory(prefix="drivetrain_verify_") as name:
        folder = Path(name)
        path, title = _config_file(config, folder)
        request = {
            "config": path,
            "overrides": list(overrides),
            "folder": name,
            "steps": steps,
            "kill_at": kills,
            "ranks": ranks,
            "timeout_s": timeout_s,
        }
        answer = _ask(request, folder)
    return ResumeReport.from_dict({**answer, "config": title})


def assert_resume_is_exact(
    config: str | Path | Config | Mapping[str, Any], overrides: Sequence[str] = (), **options: Any
) -> ResumeReport:
    """Call ``verify_resume``, and raise if the resumed training differs.

    Example:
        A test of a project of your own::

            def test_our_training_survives_a_kill():
                assert_resume_is_exact("configs/small.py", steps=10, kill_at=[3, 7])

    Args:
        config: As for ``verify_resume``.
        overrides: Likewise.
        **options: Likewise.

    Raises:
        ResumeNotExactError: With the report, which tells what differs first.
    """
    report = verify_resume(config, overrides, **options)
    if not report.is_exact:
        raise ResumeNotExactError(str(report))
    return report


def _config_file(config: str | Path | Config | Mapping[str, Any], folder: Path) -> tuple[str, str]:
    """Path of the config, and what to call it."""
    if isinstance(config, (str, Path)):
        return str(Path(config).resolve()), str(config)
    cfg = config if isinstance(config, Config) else Config(dict(config))
    path = folder / "config.py"
    try:
        cfg.dump(path)
    except DumpError as err:
        raise TrialError(
            "verify_resume: other processes have to build this training, so its config must fit "
            f"into a file.\n  {err}\n  Give the path of a config file that names your classes."
        ) from err
    return str(path), str(cfg.filename or "the config")


def _ask(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Let a fresh interpreter carry the proof out: nothing of this one may take part in it."""
    (folder / "request.json").write_text(json.dumps(request))
    paths = [os.getcwd(), str(Path(request["config"]).parent), *sys.path]
    done = subprocess.run(
        [sys.executable, "-m", "drivetrain.testing", str(folder / "request.json")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, paths)))},
        capture_output=True,
        text=True,
    )
    answer = folder / "answer.json"
    if not answer.is_file():
        raise TrialError(f"verify_resume: the proof could not be run.\n{done.stderr[-3000:]}")
    found = json.loads(answer.read_text())
    if "error" in found:
        raise TrialError(found["error"])
    return found
