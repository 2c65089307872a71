"""``drivetrain train --launch N``: the same command, in N processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drivetrain.cli._arguments import load_config
from drivetrain.dist import launch as start_processes


def launch_training(
    config: str,
    overrides: Sequence[str],
    *,
    work_dir: str | None,
    resume: bool,
    load_from: str | None,
    launch: int,
    max_restarts: int,
    launcher: str | None,
    strategy: str | None,
    amp: bool,
    auto_scale_lr: bool,
    run_test: bool,
) -> int:
    """Start the ranks; returns the exit code. A wrong config shows before any of them starts."""
    load_config(config, overrides, import_custom_modules=False)
    argv = [
        "-m",
        "drivetrain.runner",
        "train",
        config,
        *overrides,
        "--launcher",
        launcher or "pytorch",
    ]
    values: dict[str, Any] = {
        "--work-dir": work_dir,
        "--load-from": load_from,
        "--strategy": strategy,
    }
    flags = {"--resume": resume, "--amp": amp, "--auto-scale-lr": auto_scale_lr}
    for name, value in values.items():
        argv += [name, value] if value is not None else []
    argv += [name for name, on in flags.items() if on]
    argv += [] if run_test else ["--no-test"]
    return start_processes(argv, launch, max_restarts=max_restarts)
