"""The front door: what is listed is there, documented, and announced."""

from __future__ import annotations

import inspect

import pytest

import drivetrain.evaluator
from drivetrain.registry import EVALUATOR, METRICS


def test_all_lists_what_the_package_exposes():
    exposed = {
        name
        for name, value in vars(drivetrain.evaluator).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert exposed | {"__version__"} == set(drivetrain.evaluator.__all__)


@pytest.mark.parametrize("name", sorted(set(drivetrain.evaluator.__all__) - {"__version__"}))
def test_every_public_name_is_documented(name):
    assert inspect.getdoc(getattr(drivetrain.evaluator, name))


def test_components_are_registered_under_their_names():
    assert METRICS.get("DumpResults") is drivetrain.evaluator.DumpResults
    assert EVALUATOR.get("Evaluator") is drivetrain.evaluator.Evaluator


def test_the_private_name_that_downstream_imports_is_there():
    from drivetrain.evaluator import _to_cpu

    assert _to_cpu({"a": [1, (2, "b")]}) == {"a": [1, (2, "b")]}
