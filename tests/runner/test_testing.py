"""Helpers for the tests of others."""

from __future__ import annotations

import unittest
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from drivetrain.runner.testing import (
    RunnerTestCase,
    assert_allclose,
    assert_attrs_equal,
    assert_dict_contains_subset,
    assert_dict_has_keys,
    assert_is_norm_layer,
    assert_keys_equal,
    assert_params_all_zeros,
    check_class_attributes,
    check_python_script,
)


def test_a_script_runs_here_with_its_arguments(tmp_path, capsys) -> None:
    script = tmp_path / "hello.py"
    script.write_text("import sys\nif __name__ == '__main__': print('hello', *sys.argv[1:])\n")
    check_python_script(f"{script} one")
    check_python_script(f"python {script} two")
    assert capsys.readouterr().out == "hello one\nhello two\n"


def test_tensors_are_compared_within_a_tolerance() -> None:
    assert_allclose(torch.tensor([1.0, float("nan")]), torch.tensor([1.0 + 1e-8, float("nan")]))
    with pytest.raises(AssertionError, match="Mismatched elements: 1 / 1"):
        assert_allclose(torch.tensor([1.0]), torch.tensor([1.1]))
    assert_allclose(torch.tensor([1.0]), torch.tensor([1.1]), rtol=0, atol=0.2)
    with pytest.raises(AssertionError, match=r"^too far$"):
        assert_allclose(torch.tensor([1.0]), torch.tensor([1.1]), msg="too far")


def test_dicts_and_attributes_are_compared() -> None:
    thing = {"a": 1, "b": torch.tensor([1, 2])}
    assert assert_dict_contains_subset(thing, {"b": torch.tensor([1, 2])})
    assert not assert_dict_contains_subset(thing, {"b": torch.tensor([1, 3])})
    assert not assert_dict_contains_subset(thing, {"c": 1})
    assert assert_attrs_equal(SimpleNamespace(**thing), {"a": 1})
    assert not assert_attrs_equal(SimpleNamespace(**thing), {"z": 1})
    assert check_class_attributes(nn.Linear, ["forward", "extra_repr"])
    assert not check_class_attributes(nn.Linear, ["backward"])
    assert assert_dict_has_keys(thing, ["a"])
    assert not assert_dict_has_keys(thing, ["a", "c"])
    assert assert_keys_equal(["a", "b"], ["b", "a"])
    assert not assert_keys_equal(["a"], ["b", "a"])


def test_modules_are_looked_at() -> None:
    layer = nn.Linear(2, 2)
    assert not assert_params_all_zeros(layer)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    assert assert_params_all_zeros(layer)
    assert assert_is_norm_layer(nn.GroupNorm(1, 2))
    assert not assert_is_norm_layer(layer)


class Trains(RunnerTestCase):
    """What a downstream test would look like."""

    def test_epochs(self) -> None:
        runner = self.build_runner(self.epoch_based_cfg)
        runner.train()
        assert (runner.epoch, runner.iter) == (2, 8)
        assert runner.test() == {"acc": 1.0}

    def test_iterations(self) -> None:
        runner = self.build_runner(self.iter_based_cfg)
        runner.train()
        assert runner.iter == 12


del RunnerTestCase  # pytest would collect it by this name


def test_a_test_case_of_runners_runs() -> None:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Trains).run(result)
    assert (result.testsRun, result.errors, result.failures) == (2, [], [])
