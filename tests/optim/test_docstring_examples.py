"""The examples in docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import drivetrain.optim

PACKAGE = drivetrain.optim
MODULES = [f"{PACKAGE.__name__}.{m.name}" for m in pkgutil.iter_modules(PACKAGE.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_is_written(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
