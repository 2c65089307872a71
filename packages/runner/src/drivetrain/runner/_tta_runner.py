"""A runner that tests with several views of each sample."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from drivetrain.config import Config
from drivetrain.registry import RUNNERS
from drivetrain.runner._arguments import as_config
from drivetrain.runner._errors import RunnerConfigError
from drivetrain.runner._runner import Runner


def build_runner_with_tta(cfg: Config | Mapping[str, Any]) -> Runner:
    """Build the runner of a config, with test-time augmentation in its tests.

    Args:
        cfg: A whole config with ``tta_model`` (the wrapping model, without its ``module``) and
            ``tta_pipeline`` (the transforms that make the views), which takes the place of the
            test dataset's ``pipeline``. It is not changed.

    Raises:
        RunnerConfigError: If one of the two, or the test dataset, is missing.
    """
    cfg = copy.deepcopy(as_config(cfg))
    missing = [name for name in ("tta_model", "tta_pipeline") if cfg.get(name) is None]
    if missing:
        raise RunnerConfigError(
            f"{cfg.filename or 'the config'} has no {' and no '.join(missing)}, "
            "which test-time augmentation needs"
        )
    loader = cfg.get("test_dataloader")
    dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
    if not isinstance(dataset, dict):
        raise RunnerConfigError("tta_pipeline needs a test_dataloader with the config of a dataset")
    while isinstance(dataset.get("dataset"), dict):  # wrappers such as RepeatDataset
        dataset = dataset["dataset"]
    dataset["pipeline"] = cfg.tta_pipeline
    hook = {"type": "PrepareTTAHook", "tta_cfg": cfg.tta_model}
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or ()), hook]
    kind: Any = RUNNERS.get(cfg.runner_type) if cfg.get("runner_type") else Runner
    return kind.from_cfg(cfg)
