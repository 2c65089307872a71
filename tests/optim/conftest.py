"""What the tests of this package share: a small model, and its optimizer."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from torch import nn

from drivetrain.logging import MMLogger


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


@pytest.fixture
def sgd() -> Callable[..., torch.optim.SGD]:
    """Make an SGD over one parameter, or over one per learning rate."""

    def make(*rates: float, **settings: float) -> torch.optim.SGD:
        groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in rates or (1.0,)]
        return torch.optim.SGD(groups, lr=1.0, **settings)

    return make


@pytest.fixture
def caplog_of() -> Callable[[Callable[[], object]], list[str]]:
    """Call something, and return the messages that it logged."""

    def collect(call: Callable[[], object]) -> list[str]:
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            call()
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)
        return lines

    return collect
