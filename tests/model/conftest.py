"""What the tests of this package share."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from drivetrain.logging import MMLogger


@pytest.fixture
def caplog_of() -> Callable[[Callable[[], object]], list[str]]:
    """Call something, and return the messages that it logged."""

    def collect(call: Callable[[], object]) -> list[str]:
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
        logger = MMLogger.get_current_instance()
        logger.addHandler(handler)
        try:
            call()
        finally:
            logger.removeHandler(handler)
        return lines

    return collect
