"""The digits example as real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIGITS = "examples/digits/config.py"


class Command:
    """A drivetrain command in a process of its own, its output kept in a file."""

    def __init__(self, words: list[str], output: Path, launcher: list[str] | None = None) -> None:
        self.output = output
        self.process = subprocess.Popen(
            [sys.executable, "-m", *(launcher or []), "drivetrain.runner", *words],
            cwd=ROOT,
            stdout=output.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        )

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.output.read_text()

    def wait_for(self, text: str, timeout_s: float = 120.0) -> None:
        """Wait until it has printed ``text``."""
        deadline_s = time.monotonic() + timeout_s
        while text not in self.text:
            assert self.process.poll() is None, self.text[-3000:]
            assert time.monotonic() < deadline_s, f"no {text!r} in\n{self.text[-3000:]}"
            time.sleep(0.02)

    def send(self, signum: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(signum)

    def finish(self, timeout_s: float = 240.0) -> int:
        """Wait for the end; returns the exit code."""
        return self.process.wait(timeout_s)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start drivetrain commands; those that still run at the end are killed."""
    started: list[Command] = []

    def begin(*words: str, launcher: list[str] | None = None) -> Command:
        output = tmp_path / f"output_{len(started)}.txt"
        started.append(Command(list(words), output, launcher))
        return started[-1]

    yield begin
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()


def _train_digits(work_dir: Path) -> list[str]:
    return ["train", DIGITS, "train_cfg.max_epochs=3", "--work-dir", str(work_dir)]


@pytest.fixture
def digits(tmp_path: Path) -> list[str]:
    """Words that train the digits for three epochs into a folder of this test."""
    return _train_digits(tmp_path / "work")


@pytest.fixture(scope="module")
def whole_digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Command, Path]:
    """The same training, started once and never interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    command = Command(_train_digits(folder / "work"), folder / "output.txt")
    try:
        assert command.finish() == 0, command.text
    finally:
        command.process.kill()
    return command, folder / "work"
