"""What it costs to leave a scalar in the message hub, and to write a line."""

from __future__ import annotations

import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivetrain.logging import MessageHub, MMLogger

CALLS = 20_000
ROUNDS = 9
LINE = "Epoch(train) [1][10/100]  lr: 1.0000e-02  eta: 0:01:00  time: 0.0100  loss: 0.5000"


def microseconds(call: Callable[[], Any], calls: int = CALLS) -> float:
    """CPU time of one call: the median of several rounds."""
    spent = []
    for _ in range(ROUNDS):
        started_s = time.process_time()
        for _ in range(calls):
            call()
        spent.append(time.process_time() - started_s)
    return statistics.median(spent) / calls * 1e6


def scalar_us(hub: Any) -> float:
    """One call of ``update_scalar``, reading included: one read for each of ten calls."""
    update = hub.update_scalar

    def ten() -> None:
        for _ in range(10):
            update("train/loss", 0.5)
        hub.get_scalar("train/loss")

    return microseconds(ten, CALLS // 10) / 10


def row(name: str, measured: float, unit: str, limit: float | None = None) -> dict[str, Any]:
    ok = limit is None or measured <= limit
    return {"name": name, "measured": measured, "unit": unit, "limit": limit, "ok": ok}


def hub_rows(hub: Any, whose: str, limit: float | None) -> list[dict[str, Any]]:
    """A scalar into an empty hub, and into one that has a million of them."""
    empty = scalar_us(hub)
    for _ in range(1_000_000 if limit else 100_000):
        hub.update_scalar("train/loss", 0.5)
    full = "1,000,000" if limit else "100,000"
    return [
        row(f"a scalar into the message hub{whose}, empty", empty, "µs", limit),
        row(f"the same, after {full}", scalar_us(hub), "µs", limit),
    ]


def line_us() -> float:
    """A line for the console, which is no terminal here, and for a file."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        logger = MMLogger("benchmark", log_file=Path(folder) / "run.log")
        taken = microseconds(lambda: logger.info(LINE), 2_000)
        logger.close()
    return taken


def reference_rows() -> list[dict[str, Any]]:
    """The message hub of the reference engine, where it is installed."""
    try:
        from mmengine.logging import MessageHub as Reference
    except ImportError:
        print("mmengine is not installed: left out", file=sys.stderr)
        return []
    return hub_rows(Reference("benchmark"), ", mmengine", None)


def run() -> list[dict[str, Any]]:
    """Rows for the table of all benchmarks."""
    return [
        *hub_rows(MessageHub("benchmark"), "", 0.5),
        row("a log line, console and file", line_us(), "µs"),
        *reference_rows(),
    ]


if __name__ == "__main__":
    for line in run():
        print(f"{line['name']:<60} {line['measured']:>8.3f} {line['unit']}")
