"""``drivetrain val`` and ``drivetrain test``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from drivetrain.checkpoint import CheckpointFolder
from drivetrain.cli._arguments import default_work_dir, load_config
from drivetrain.cli._report import metrics_table, print_table
from drivetrain.cli._train import build_runner, failures_recorded, live, set_launcher
from drivetrain.dist import is_main_process
from drivetrain.runner import NothingToResumeError


def run_evaluation(
    stage: str,
    config: str,
    checkpoint: str | None,
    overrides: Sequence[str],
    *,
    work_dir: str | None,
    launcher: str | None,
) -> None:
    """Evaluate ``checkpoint`` on the data of ``stage`` and print its metrics."""
    with failures_recorded():
        cfg = load_config(config, overrides, import_custom_modules=True)
        cfg.work_dir = work_dir or default_work_dir(cfg)
        set_launcher(cfg, launcher)
        cfg.load_from = checkpoint or cfg.get("load_from") or find_checkpoint(cfg.work_dir)
        cfg.resume = False
        runner = build_runner(cfg)
        with live(runner):
            metrics = runner.val() if stage == "val" else runner.test()
        if is_main_process():
            print_table(metrics_table(metrics), f"{stage} metrics of {cfg.load_from}")


def find_checkpoint(work_dir: str) -> str:
    """The best checkpoint of a work dir, or else its newest.

    Raises:
        NothingToResumeError: If there is none.
    """
    best = sorted(Path(work_dir).glob("best_*.pth"), key=lambda file: file.stat().st_mtime)
    found = str(best[-1]) if best else CheckpointFolder(work_dir).latest()
    if found is None:
        raise NothingToResumeError(
            f"there is no checkpoint in {work_dir}; name one, or train first"
        )
    return found
