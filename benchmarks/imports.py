"""How long an import takes, over what it needs anyway, in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

ROUNDS = 15

# What is imported, what has been imported before the clock starts, and the limit in milliseconds.
CASES = [
    ("drivetrain.registry", "sys", 20.0),
    ("drivetrain.config", "sys", 40.0),
    ("drivetrain.fileio", "sys", None),
    ("drivetrain.logging", "numpy", None),
    ("drivetrain.runner", "torch", 150.0),
    ("drivetrain.cli", "sys", None),
]


def import_ms(module: str, before: str) -> float:
    """One import in one interpreter, with compiled files in place after the first."""
    program = (
        f"import time, {before}; start = time.perf_counter(); import {module}; "
        "print((time.perf_counter() - start) * 1e3)"
    )
    keeps_compiled = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    return float(
        subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=keeps_compiled,
        ).stdout
    )


def run() -> list[dict[str, Any]]:
    """The quickest of several: what others do on the machine only ever adds."""
    rows = []
    for module, before, limit in CASES:
        measured = min(import_ms(module, before) for _ in range(ROUNDS))
        over = "bare Python" if before == "sys" else before
        rows.append(
            {
                "name": f"import {module}, over {over}",
                "measured": measured,
                "unit": "ms",
                "limit": limit,
                "ok": limit is None or measured <= limit,
            }
        )
    return rows
