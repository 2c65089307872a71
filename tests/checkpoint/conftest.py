"""Processes that are killed in the middle of a write."""

from __future__ import annotations

import builtins
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import torch

from drivetrain.checkpoint._hashing import HashingWriter

WATCHED = ("open", "fsync", "replace", "unlink", "remove", "chmod", "close", "rename")


class WritePoints:
    """Counts what a process does to the disk, and kills it before the n-th thing.

    The moment after a thing is the moment before the next: the disk is the same.
    """

    def __init__(self) -> None:
        self.count = 0
        self.fatal = sys.maxsize

    def install(self) -> None:
        for name in WATCHED:
            setattr(os, name, self._watched(getattr(os, name)))
        builtins.open = self._watched(builtins.open)  # type: ignore[assignment]
        HashingWriter.write = self._watched(HashingWriter.write)  # type: ignore[method-assign]

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._pass()
            return function(*args, **kwargs)

        return call

    def _pass(self) -> None:
        self.count += 1
        if self.count == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked process, and return how it ended (a negative signal, or a code)."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # the parent's threads are not here: waiting for them is for ever
        code = 1
        try:
            result = work()
            code = result if isinstance(result, int) else 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture
def run_in_child() -> Callable[[Callable[[], object]], int]:
    if sys.platform == "win32":
        pytest.skip("needs fork")
    return in_child


@pytest.fixture
def killed_at_each_write_point() -> Callable[[Callable[[], object], Callable[[], None]], int]:
    """Give a function that kills ``work`` at each of its write points, and checks after each."""
    if sys.platform == "win32":
        pytest.skip("needs fork and SIGKILL")

    def kill_everywhere(work: Callable[[], object], check: Callable[[], None]) -> int:
        def doomed(fatal: int) -> Callable[[], int]:
            def run() -> int:
                points = WritePoints()
                points.fatal = fatal
                points.install()
                work()
                return 0

            return run

        point = 1
        while in_child(doomed(point)) == -signal.SIGKILL:
            check()
            point += 1
        check()
        return point - 1

    return kill_everywhere
