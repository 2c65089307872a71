"""Run the benchmarks, each in a process of its own, and print one table.

    hatch run bench                  all of them
    hatch run bench imports config   the ones that are named
    hatch run bench --write          also into benchmarks/RESULTS.md

A benchmark is a module beside this one with ``run() -> list[dict]``; a row has the keys ``name``,
``measured``, ``unit``, ``limit`` (``None``: for information) and ``ok``. The exit status is 1 if a
limit is missed or a benchmark fails.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SECTION = "## All, in one run"
Row = dict[str, Any]


def available() -> list[str]:
    """Names of the modules that lie here, private ones aside."""
    return sorted(path.stem for path in HERE.glob("[!_]*.py"))


def run_here(name: str, result: Path) -> None:
    """Import one benchmark, run it, and write its rows; ``null`` if it has no ``run``."""
    # Loaded by path: as a name on sys.path, a `logging.py` here would hide Python's own.
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    rows = module.run() if hasattr(module, "run") else None
    result.write_text(json.dumps(rows, default=str), encoding="utf-8")


def run_apart(name: str) -> list[Row]:
    """Run one benchmark in a fresh process; a crash becomes a row that is not ok."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "rows.json"
        program = (
            "import importlib.util as u, pathlib, sys; "
            "s = u.spec_from_file_location('collector', sys.argv[1]); "
            "m = u.module_from_spec(s); s.loader.exec_module(m); "
            "m.run_here(sys.argv[2], pathlib.Path(sys.argv[3]))"
        )
        command = [sys.executable, "-c", program, __file__, name, str(result)]
        done = subprocess.run(command, cwd=HERE.parent, check=False, stdout=sys.stderr)
        if done.returncode == 0:
            rows = json.loads(result.read_text(encoding="utf-8"))
            return [{"benchmark": name, **row} for row in rows or []]
    failed = f"did not finish (exit status {done.returncode})"
    row = {"name": failed, "measured": None, "unit": "", "limit": None, "ok": False}
    return [{"benchmark": name, **row}]


def number(value: float | str | None) -> str:
    """Three significant digits, and no exponent where a reader does not need one."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def missed(row: Row) -> bool:
    """Whether the row has a limit that was not kept, or nothing could be measured."""
    return row["measured"] is None or (row["limit"] is not None and not row["ok"])


def cells(row: Row) -> list[str]:
    """The row as the table shows it."""
    verdict = "MISSED" if missed(row) else "-" if row["limit"] is None else "ok"
    figures = [number(row["measured"]), number(row["limit"]), str(row["unit"])]
    return [row["benchmark"], str(row["name"]), *figures, verdict]


HEAD = ["benchmark", "what", "measured", "limit", "unit", ""]


def machine() -> str:
    """What the figures were measured on."""
    versions = [f"Python {platform.python_version()}"]
    for name in ("torch", "numpy"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    cores = os.cpu_count()
    return f"{', '.join(versions)}; {platform.system()} {platform.machine()}, {cores} cores"


def as_markdown(rows: list[Row]) -> str:
    """The table as Markdown, with what it was measured on."""
    lines = [HEAD, ["---", "---", "---:", "---:", "---", "---"], *map(cells, rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{SECTION}\n\n{machine()}. Written by `hatch run bench --write`.\n\n{table}\n"


def with_section(text: str, section: str) -> str:
    """``text`` with its last section replaced by ``section``; what was written by hand stays."""
    kept = text.split(SECTION)[0].rstrip() or "# Benchmarks"
    return f"{kept}\n\n{section}"


def print_table(rows: list[Row]) -> None:
    """Print with rich, or as Markdown where rich is not installed."""
    if importlib.util.find_spec("rich") is None:
        print(as_markdown(rows))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Benchmarks", caption=machine())
    for heading in HEAD:
        table.add_column(heading, justify="right" if heading in ("measured", "limit") else "left")
    for row in rows:
        table.add_row(*cells(row), style="bold red" if missed(row) else None)
    # In a file or a pipe there is no width to keep to: let no figure be cut off.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def main() -> int:
    """Parse the command line, run, print; the exit status."""
    parser = argparse.ArgumentParser(prog="hatch run bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(available())}")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(available()))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(available())}")

    rows: list[Row] = []
    for name in options.names or available():
        print(f"running {name}", file=sys.stderr, flush=True)
        rows += run_apart(name)
    print_table(rows)
    if options.write:
        results = HERE / "RESULTS.md"
        before = results.read_text(encoding="utf-8") if results.exists() else ""
        results.write_text(with_section(before, as_markdown(rows)), encoding="utf-8")
    return 1 if any(map(missed, rows)) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
