"""Leaving the reason of a failure where an elastic launcher looks for it."""

from __future__ import annotations

import json
import os
import time
import traceback


def record_failure(error: BaseException, exit_code: int = 1, text: str | None = None) -> None:
    """Leave ``error`` with its traceback where the launcher of this process looks for it.

    For programs that catch their own errors at the top; nothing without an elastic launcher.
    The first record of a process stays.

    Args:
        error: What ends this process.
        exit_code: The code that it will end with. The launcher may end it before it can.
        text: What a person should read, for errors that need no traceback.
    """
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not path or os.path.exists(path):
        return
    trace = text or "".join(traceback.format_exception(type(error), error, error.__traceback__))
    extra = {
        "py_callstack": trace,
        "timestamp": str(int(time.time())),  # torch's agent sorts by whole seconds
        "time_ns": time.time_ns(),
        "exit_code": exit_code,
    }
    message = {"message": f"{type(error).__name__}: {error}", "extraInfo": extra}
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"message": message}, file)
