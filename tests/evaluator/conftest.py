"""What the tests of this package share: ranks on demand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from drivetrain.dist import testing

torch.set_num_threads(1)


@pytest.fixture
def on_ranks() -> Callable[..., list[Any]]:
    """``on_ranks(world_size, function, *args)``: what the function returned, rank by rank."""
    return testing.on_ranks
