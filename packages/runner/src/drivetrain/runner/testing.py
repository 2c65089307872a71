"""Helpers for tests of models, hooks and scripts."""

from __future__ import annotations

import copy
import os
import runpy
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from unittest import TestCase

import numpy as np
import torch
from torch import nn

from drivetrain.config import Config
from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel, is_norm
from drivetrain.registry import DATASETS, METRICS, MODELS
from drivetrain.registry.testing import reset_global_state
from drivetrain.runner._runner import Runner

__all__ = [
    "RunnerTestCase",
    "assert_allclose",
    "assert_attrs_equal",
    "assert_dict_contains_subset",
    "assert_dict_has_keys",
    "assert_is_norm_layer",
    "assert_keys_equal",
    "assert_params_all_zeros",
    "check_class_attributes",
    "check_python_script",
]


def check_python_script(cmd: str) -> None:
    """Run a script in this process, as ``python <cmd>`` would.

    Args:
        cmd: Path of the script and its arguments; a leading ``python`` may stand there.
    """
    words = cmd.split()
    if words and os.path.basename(words[0]) in ("python", "python3"):
        words = words[1:]
    outer = sys.argv
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    finally:
        sys.argv = outer


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str | None = "",
) -> None:
    """Compare tensors, or what can become one, within a tolerance.

    Args:
        actual: What came out.
        expected: What should.
        rtol: Relative tolerance; by default one that suits the type.
        atol: Absolute tolerance; to be given with ``rtol``.
        equal_nan: Whether NaN equals NaN.
        msg: Text of the error; by default what differs, and by how much.
    """
    torch.testing.assert_close(
        actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, msg=msg or None
    )


def assert_dict_contains_subset(
    dict_obj: Mapping[Any, Any], expected_subset: Mapping[Any, Any]
) -> bool:
    """Whether a dict has all items of another."""
    return all(
        key in dict_obj and _equal(dict_obj[key], value) for key, value in expected_subset.items()
    )


def assert_attrs_equal(obj: Any, expected_attrs: Mapping[str, Any]) -> bool:
    """Whether an object has attributes with these values."""
    missing = object()
    return all(_equal(getattr(obj, k, missing), v) for k, v in expected_attrs.items())


def check_class_attributes(obj: Any, expected_attrs: Iterable[str]) -> bool:
    """Whether a class, or an object, has all these attributes."""
    return all(hasattr(obj, name) for name in expected_attrs)


def assert_dict_has_keys(obj: Mapping[str, Any], expected_keys: Iterable[str]) -> bool:
    """Whether a dict has all these keys."""
    return set(expected_keys) <= set(obj)


def assert_keys_equal(result_keys: Iterable[str], target_keys: Iterable[str]) -> bool:
    """Whether two collections hold the same keys, in whatever order."""
    return set(result_keys) == set(target_keys)


def assert_is_norm_layer(module: nn.Module) -> bool:
    """Whether a module normalizes: batch, instance, group or layer norm."""
    return is_norm(module)


def assert_params_all_zeros(module: nn.Module) -> bool:
    """Whether the weight, and the bias if there is one, of a module are all zeros."""
    parameters = (getattr(module, "weight", None), getattr(module, "bias", None))
    return all(not bool(p.detach().any()) for p in parameters if p is not None)


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, (torch.Tensor, np.ndarray)) or isinstance(
        right, (torch.Tensor, np.ndarray)
    ):
        if type(left) is not type(right) or left.shape != right.shape:
            return False
        same: Any = left == right
        return bool(same.all())
    return bool(left == right)


class ToyModel(BaseModel):
    """Two layers for points ``(N, 2)``; :class:`RunnerTestCase` trains it."""

    def __init__(self, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.linear1 = nn.Linear(2, 32)
        self.linear2 = nn.Linear(32, 2)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """Sum of squared differences from the labels, or the outputs."""
        if isinstance(inputs, list):
            inputs = torch.stack(inputs)
        outputs = self.linear2(self.linear1(inputs))
        if mode == "loss":
            labels = torch.stack(data_samples) if isinstance(data_samples, list) else data_samples
            return {"loss": (labels - outputs).sum().square()}
        return outputs


class ToyDataset(torch.utils.data.Dataset):
    """Twelve points of ones, labelled 1."""

    METAINFO: Mapping[str, Any] = {}
    metainfo: Mapping[str, Any] = {}

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"inputs": torch.ones(2), "data_samples": torch.ones(2)}


class ToyMetric(BaseMetric):
    """Accuracy that is always 1."""

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Count a batch."""
        self.results.append(1)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """One."""
        return {"acc": 1.0}


class RunnerTestCase(TestCase):
    """A test case with a small config that trains, validates and tests within a second.

    Attributes:
        epoch_based_cfg: A config that counts epochs.
        iter_based_cfg: One that counts iterations.
        temp_dir: Folder of this test; it is gone afterwards.
    """

    dist_cfg: ClassVar[dict[str, str]] = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29600",
        "RANK": "0",
        "WORLD_SIZE": "1",
    }

    def setUp(self) -> None:
        """Register the parts, make the configs, and note the environment."""
        super().setUp()
        self._parts = ((MODELS, ToyModel), (DATASETS, ToyDataset), (METRICS, ToyMetric))
        for registry, part in self._parts:
            registry.register_module(module=part, force=True)
        self._folder = tempfile.TemporaryDirectory()
        self.temp_dir = self._folder.name
        self._environment = dict(os.environ)
        self.epoch_based_cfg = self._config({"by_epoch": True, "max_epochs": 2, "val_interval": 1})
        self.iter_based_cfg = self._config({"by_epoch": False, "max_iters": 12, "val_interval": 4})
        self.iter_based_cfg.log_processor = {"by_epoch": False}
        self.iter_based_cfg.default_hooks.checkpoint.by_epoch = False
        self.iter_based_cfg.default_hooks.checkpoint.interval = 12

    def tearDown(self) -> None:
        """Leave nothing behind."""
        super().tearDown()
        reset_global_state()
        self._folder.cleanup()
        os.environ.clear()
        os.environ.update(self._environment)
        for registry, part in self._parts:
            registry.module_dict.pop(part.__name__, None)

    def _config(self, train_cfg: dict[str, Any]) -> Config:
        loader = {
            "dataset": {"type": "ToyDataset"},
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "batch_size": 3,
            "num_workers": 0,
        }
        evaluation = {**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}}
        return Config(
            {
                "work_dir": self.temp_dir,
                "model": {"type": "ToyModel"},
                "train_dataloader": loader,
                "train_cfg": train_cfg,
                "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.001}},
                "val_dataloader": copy.deepcopy(evaluation),
                "val_evaluator": [{"type": "ToyMetric"}],
                "val_cfg": {},
                "test_dataloader": copy.deepcopy(evaluation),
                "test_evaluator": [{"type": "ToyMetric"}],
                "test_cfg": {},
                "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}},
                "randomness": {"seed": 5},
                "launcher": "none",
                "experiment_name": "runner_test_case",
            }
        )

    def build_runner(self, cfg: Config) -> Runner:
        """A runner of a config, under a name of its own."""
        cfg = copy.deepcopy(cfg)
        cfg.experiment_name = self.experiment_name
        return Runner.from_cfg(cfg)

    @property
    def experiment_name(self) -> str:
        """A name for a run of this test."""
        return f"{type(self).__name__}_{self._testMethodName}"

    def setup_dist_env(self) -> None:
        """Set what a launcher would set for one process."""
        os.environ.update(self.dist_cfg)
