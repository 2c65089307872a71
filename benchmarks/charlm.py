"""The character model by one process, by DDP and by FSDP2: characters a second, and memory.

For information: what a strategy gains depends on the machine. On a CPU two ranks share what one
process could use alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ITERATIONS = 60
WAYS = {"single": [], "ddp": ["--launch", "2"], "fsdp": ["--launch", "2"]}
FOOTPRINT = re.compile(r"Footprint: (\S+) chars/s, state_mb (\S+), peak_mb (\S+)")


def footprint(strategy: str, launch: list[str]) -> tuple[float, float, float]:
    """Characters a second of all ranks; megabytes of state and at the peak, of rank 0."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *[sys.executable, "-m", "drivetrain.runner", "train", "examples/charlm/config.py"],
                *[f"train_cfg.max_iters={ITERATIONS}", "custom_hooks.2.num_chars=1"],
                *[*launch, "--strategy", strategy, "--work-dir", folder],
            ],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
    found = FOOTPRINT.search(done.stdout)
    if found is None:
        raise RuntimeError(f"{strategy}: {done.stderr[-2000:]}")
    return float(found[1]), float(found[2]), float(found[3])


def row(name: str, measured: float, unit: str) -> dict[str, Any]:
    return {"name": name, "measured": measured, "unit": unit, "limit": None, "ok": True}


def run() -> list[dict[str, Any]]:
    """Rows for the table of all benchmarks."""
    rows = []
    for strategy, launch in WAYS.items():
        name = f"{strategy}, {launch[-1] if launch else 1} process{'es' if launch else ''}"
        speed, state_mb, peak_mb = footprint(strategy, launch)
        rows += [
            row(f"{name}: all ranks", speed, "chars/s"),
            row(f"{name}: parameters, gradients, optimizer of a rank", state_mb, "MB"),
            row(f"{name}: peak of a rank", peak_mb, "MB"),
        ]
    return rows


if __name__ == "__main__":
    for line in run():
        print(f"{line['name']:<60} {line['measured']:>10.4g} {line['unit']}")
