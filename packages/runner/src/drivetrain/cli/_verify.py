"""``drivetrain verify resume``: prove on one's own config that a killed run goes on exactly."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from drivetrain.cli._arguments import load_config
from drivetrain.testing import verify_resume


def run_proof(
    config: str,
    overrides: Sequence[str],
    *,
    steps: int | None,
    kill_at: Sequence[int],
    ranks: int,
    timeout_s: float,
) -> None:
    """Carry out the proof, show what it found, and exit with 1 unless the resume is exact."""
    load_config(config, overrides, import_custom_modules=False)  # a wrong one shows at once
    report = verify_resume(
        config, overrides, steps=steps, kill_at=list(kill_at), ranks=ranks, timeout_s=timeout_s
    )
    click.echo(str(report))
    if not report.is_exact:
        sys.exit(1)
