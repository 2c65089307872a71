"""What every test may rely on: no global state left over from the one before."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest


@pytest.fixture(autouse=True)
def _fresh_global_state() -> Iterator[None]:
    """Named instances and the default scope live in one mechanism; clear it after each test.

    The tests of a package also run where only that package is installed, hence the look first.
    """
    yield
    if find_spec("drivetrain.registry") is not None:
        from drivetrain.registry.testing import reset_global_state

        reset_global_state()
