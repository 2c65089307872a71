"""`hatch run bench` gathers every benchmark, and a missed limit fails it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

KEPT = "def run(): return [dict(name='kept', measured=0.25, unit='µs', limit=1, ok=True)]\n"
MISSED = "def run(): return [dict(name='missed', measured=1234.5, unit='ms', limit=1, ok=False)]\n"


@pytest.fixture
def collector(root: Path, tmp_path: Path) -> Path:
    """The collector, in a folder with no benchmarks yet."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    shutil.copy(root / "benchmarks" / "__main__.py", folder)
    return folder


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_table_holds_the_rows_of_every_benchmark(collector: Path) -> None:
    (collector / "first.py").write_text(KEPT, encoding="utf-8")
    (collector / "second.py").write_text(KEPT.replace("kept", "also kept"), encoding="utf-8")
    (collector / "_private.py").write_text("raise SystemExit(3)", encoding="utf-8")

    done = bench(collector)

    assert done.returncode == 0, done.stderr
    assert "first" in done.stdout
    assert "also kept" in done.stdout
    assert "0.25" in done.stdout


def test_a_missed_limit_is_marked_and_fails_the_command(collector: Path) -> None:
    (collector / "first.py").write_text(KEPT, encoding="utf-8")
    (collector / "slow.py").write_text(MISSED, encoding="utf-8")

    assert bench(collector, "first").returncode == 0
    done = bench(collector)

    assert done.returncode == 1
    assert "MISSED" in done.stdout
    assert "1,234" in done.stdout


def test_a_benchmark_that_crashes_is_a_row_and_the_others_still_run(collector: Path) -> None:
    (collector / "broken.py").write_text("def run(): raise OSError('no disk')", encoding="utf-8")
    (collector / "whole.py").write_text(KEPT, encoding="utf-8")

    done = bench(collector)

    assert done.returncode == 1
    assert "did not finish" in done.stdout
    assert "kept" in done.stdout
    assert "no disk" in done.stderr


def test_a_benchmark_may_have_the_name_of_a_standard_module(collector: Path) -> None:
    (collector / "logging.py").write_text("import logging\nlogging.Logger\n" + KEPT)

    done = bench(collector)

    assert done.returncode == 0, done.stderr


def test_results_are_written_only_when_asked(collector: Path) -> None:
    (collector / "first.py").write_text(KEPT, encoding="utf-8")

    bench(collector)
    assert not (collector / "RESULTS.md").exists()
    bench(collector, "--write")

    written = (collector / "RESULTS.md").read_text(encoding="utf-8")
    assert "| first | kept | 0.25 | 1 | µs | ok |" in written


def test_what_was_written_by_hand_into_the_results_stays(collector: Path) -> None:
    (collector / "first.py").write_text(KEPT, encoding="utf-8")
    (collector / "RESULTS.md").write_text("# Benchmarks\n\n## Peers\n\nslow\n", encoding="utf-8")

    bench(collector, "--write")
    bench(collector, "--write")

    written = (collector / "RESULTS.md").read_text(encoding="utf-8")
    assert written.startswith("# Benchmarks\n\n## Peers\n\nslow\n")
    assert written.count("| first | kept |") == 1


def test_an_unknown_name_is_refused_with_those_that_there_are(collector: Path) -> None:
    (collector / "first.py").write_text(KEPT, encoding="utf-8")

    done = bench(collector, "frist")

    assert done.returncode == 2
    assert "no benchmark frist; there are: first" in done.stderr
