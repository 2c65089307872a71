"""Lines that wait a moment, to be written together with the next ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import get_ident


class HeldBack:
    """Writes what somebody holds back, once, before anything else is written.

    Only the thread that holds it back writes it: another one would do so in the middle of
    something, and a forked process would write it a second time.

    Args:
        write: What to call.
    """

    def __init__(self, write: Callable[[], None]) -> None:
        self._write: Callable[[], None] | None = write
        self._owner = (os.getpid(), get_ident())

    def release(self) -> bool:
        """Have it written; returns whether it is, now or earlier."""
        if self._owner != (os.getpid(), get_ident()):
            return False
        write, self._write = self._write, None
        if write is not None:
            write()
        return True
