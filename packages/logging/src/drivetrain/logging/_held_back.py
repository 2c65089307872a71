"""Lines that wait a moment, to be written together with the next ones."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from functools import cache
from threading import get_ident
from typing import NamedTuple


class _Held(NamedTuple):
    """What is held back.

    Attributes:
        write: Writes it.
        owner: The process and the thread that may do so. Another thread would write in the middle
            of something, and a forked process would write it a second time.
    """

    write: Callable[[], None]
    owner: tuple[int, int]


#: Of all loggers and trackers: they share a console, and what was said first stands first.
waiting: list[_Held] = []


def hold_back(write: Callable[[], None]) -> None:
    """Have ``write`` called once before this thread logs or records anything else.

    It is called at the latest by :func:`release`, or at exit. What this thread held back before is
    written now.

    Args:
        write: Writes what is held back, by ``MMLogger.info_lines`` and ``Visualizer.add_scalars``.
    """
    release()
    _release_at_exit()
    waiting.append(_Held(write, (os.getpid(), get_ident())))


@cache
def _release_at_exit() -> None:
    """See to it, once: who walks through a loop by hand may leave it anywhere."""
    atexit.register(release)


def release() -> None:
    """Have what this thread holds back written now."""
    if not waiting:
        return
    me = (os.getpid(), get_ident())
    while (held := next((one for one in waiting if one.owner == me), None)) is not None:
        waiting.remove(held)  # first: what it writes comes by here
        held.write()
