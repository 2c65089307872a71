"""Writing into the log file of a run what would only be noise on the terminal."""

from __future__ import annotations

import logging


def log_to_file(logger: logging.Logger, message: str, level: int = logging.INFO) -> None:
    """Hand ``message`` to the file handlers of ``logger`` alone."""
    record = logger.makeRecord(logger.name, level, __file__, 0, message, (), None)
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
