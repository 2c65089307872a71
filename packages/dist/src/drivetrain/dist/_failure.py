"""Leaving the reason of a failure where launcher and other ranks look for it."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from types import TracebackType
from typing import Any

from drivetrain.dist._bell import failed_first, ring


def record_failure(
    error: BaseException, exit_code: int = 1, text: str | None = None, *, is_shown: bool = False
) -> bool:
    """Tell the launcher and the other ranks what ends this process; for whoever catches errors.

    An elastic launcher shows what is left for it; the ranks do not wait for one that failed.
    The first record of a process stays. Nothing outside of a job.

    Args:
        error: What ends this process.
        exit_code: The code that it will end with. The launcher may end it before it can.
        text: What a person should read, for errors that need no traceback.
        is_shown: Whether this process writes the error to its terminal by itself.

    Returns:
        Whether this rank is the first that failed, as far as is known: what comes after it is
        mostly a consequence, and need not be shown.
    """
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path or os.path.exists(path):
        return ring(error)
    trace = text or "".join(traceback.format_exception(type(error), error, error.__traceback__))
    record: dict[str, Any] = {
        "timestamp": str(int(time.time())),  # torch's agent sorts by whole seconds
        "time_ns": time.time_ns(),
        "exit_code": exit_code,
        "is_shown": is_shown,
    }
    # Once it has rung, other ranks leave, and the launcher ends this one: the reason lies there.
    _leave(path, error, {**record, "py_callstack": trace, "is_first": True})
    is_first = ring(error)
    if not is_first:
        _leave(path, error, {**record, "py_callstack": consequence_line(error), "is_first": False})
    return is_first


def _leave(path: str, error: BaseException, record: dict[str, Any]) -> None:
    """Write the file that the launcher reads, whole or not at all: it may end this rank now."""
    content = {"message": {"message": f"{type(error).__name__}: {error}", "extraInfo": record}}
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(beside, path)


def consequence_line(error: BaseException) -> str:
    """One line about an error of this rank that came after another rank's failure."""
    first = failed_first()
    cause = "another rank failed" if first is None else f"rank {first.rank} failed ({first.text})"
    rank = os.environ.get("RANK", "?")
    return f"rank {rank} ends too, with {type(error).__name__}, because {cause} first."


def record_uncaught_errors() -> None:
    """Record errors that nobody catches, and show in full only those of the rank that was first."""
    show = sys.excepthook

    def record_and_show(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt) or record_failure(error, is_shown=True):
            show(kind, error, trace)
        else:
            sys.stderr.write(consequence_line(error) + "\n")

    sys.excepthook = record_and_show
