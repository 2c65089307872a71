"""The live display, on a real (pseudo) terminal."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import textwrap
import time

import pytest

from drivetrain.logging import RunProgress

pty = pytest.importorskip("pty", reason="pseudo terminals are a thing of POSIX")
pytest.importorskip("fcntl")

PROLOGUE = """
import os, sys
from drivetrain.logging import MMLogger, RunProgress
from drivetrain.logging import _run_progress

def drawn(progress):
    "Draw now, instead of waiting for the thread."
    progress._bars.refresh()
"""


def on_terminal(program, **environment):
    """Run a program on a terminal of 100 columns; return what it wrote there."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(program)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # Linux: the program has ended
            break
        if not chunk:
            break
        written += chunk
    os.close(ours)
    assert process.wait() == 0, written.decode()
    screen = written.decode().replace("\x1b[2K", "\n").replace("\r", "")  # a line erased, and anew
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)


def test_a_phase_shows_its_bar_and_figures():
    screen = on_terminal(
        """
        with RunProgress() as progress:
            progress.start("train", total=40, completed=10)
            for _ in range(10):
                progress.advance()
            progress.describe("loss 0.1234  lr 1e-3")
            drawn(progress)
        """
    )
    assert re.search(r"train .*20/40", screen)
    assert "loss 0.1234  lr 1e-3" in screen


def test_a_validation_inside_a_training_has_its_own_bar():
    screen = on_terminal(
        """
        with RunProgress() as progress:
            progress.start("train", total=40)
            progress.advance(7)
            progress.start("val", total=5)
            progress.advance(2)
            drawn(progress)
            print("-- both")
            progress.finish()
            progress.advance()
            drawn(progress)
            print("-- back")
            progress.finish()
        """
    )
    both, back = screen.split("-- both")
    assert re.search(r"train .* 7/40.*\n.*val .*2/5", both)
    assert re.search(r"train .* 8/40", back)
    assert "val" not in back.split("8/40")[-1]


def test_lines_are_logged_above_the_bars_and_stay_whole():
    screen = on_terminal(
        """
        logger = MMLogger.get_instance("run")
        with RunProgress() as progress:
            progress.start("train", total=4)
            logger.info("a line of the log")
            print("to the error stream", file=sys.stderr)
            drawn(progress)
        logger.info("after the bars")
        """
    )
    assert re.search(r"^\d{4}/.* - drivetrain - INFO - a line of the log$", screen, re.MULTILINE)
    assert re.search(r"^to the error stream$", screen, re.MULTILINE)
    assert "after the bars" in screen.splitlines()[-1]


def test_a_long_line_is_not_broken():
    screen = on_terminal(
        """
        with RunProgress() as progress:
            progress.start("train", total=4)
            print("/a/long/path" * 20, "[not markup]", "tail")
            print("unfinished", end="", flush=True)
            print(" and finished")
            print("at the end", end="")
        """
    )
    assert "/a/long/path" * 20 + " [not markup] tail\n" in screen
    assert "unfinished and finished\n" in screen
    assert screen.endswith("at the end")


def test_colours_survive_above_the_bars():
    screen = on_terminal(
        """
        with RunProgress() as progress:
            progress.start("train", total=4)
            print("\\x1b[31mred\\x1b[0m plain")
            print("isatty", sys.stdout.isatty(), sys.stdout.encoding)
        """
    )
    assert "red plain\n" in screen
    assert "isatty True utf-8\n" in screen


def test_a_forked_child_can_print_while_the_bars_are_drawn():
    screen = on_terminal(
        """
        with RunProgress() as progress:
            progress.start("train", total=4)
            progress._bars.console._lock.acquire()  # as the drawing thread may hold it
            child = os.fork()
            if child == 0:
                print("from the child", flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            progress._bars.console._lock.release()
        """
    )
    assert "from the child" in screen


def test_the_terminal_is_given_back_after_an_error():
    screen = on_terminal(
        """
        real = sys.stdout
        progress = RunProgress()
        try:
            with progress:
                progress.start("train", total=4)
                assert sys.stdout is not real
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        assert sys.stdout is real
        progress.close()
        progress.start("again", total=None)
        drawn(progress)
        progress.finish()
        assert sys.stdout is real
        """
    )
    assert "again" in screen


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"RANK": "1"}], ids=str)
def test_nothing_is_drawn_where_nobody_can_see_it(environment):
    screen = on_terminal(
        """
        progress = RunProgress()
        progress.start("train", total=4)
        progress.advance()
        assert not progress.enabled
        assert "rich" not in sys.modules
        """,
        **environment,
    )
    assert screen == ""


def test_away_from_a_terminal_every_method_does_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    progress = RunProgress()
    progress.start("train", total=4)
    progress.advance(2)
    progress.describe("loss 1")
    progress.finish()
    progress.close()
    assert sys.stdout.getvalue() == ""


def test_counting_a_step_costs_less_than_a_microsecond():
    progress = RunProgress(enabled=False)
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(1000):
            progress.advance()
        best = min(best, time.perf_counter() - began)
    assert best / 1000 < 1e-6
