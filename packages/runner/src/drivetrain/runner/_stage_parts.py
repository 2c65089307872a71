"""Which arguments of a runner belong together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from drivetrain.runner._errors import RunnerConfigError

#: What each stage needs; all of a stage's parts are given, or none.
STAGE_PARTS = {
    "train": ("train_dataloader", "train_cfg", "optim_wrapper"),
    "val": ("val_dataloader", "val_cfg", "val_evaluator"),
    "test": ("test_dataloader", "test_cfg", "test_evaluator"),
}


def check_parts(parts: Mapping[str, Any]) -> None:
    """Refuse a stage of which only a part is given, and what cannot be a loop or a folder.

    Raises:
        RunnerConfigError: If a part is missing; names the stage and the part.
        TypeError: If a loop or the work dir is something else.
    """
    if not isinstance(parts["work_dir"], (str, os.PathLike)):
        raise TypeError(f"work_dir is the path of a folder, got {parts['work_dir']!r}")
    for stage, names in STAGE_PARTS.items():
        given = [name for name in names if parts.get(name) is not None]
        missing = [name for name in names if name not in given]
        if given and missing:
            raise RunnerConfigError(
                f"{', '.join(names)} belong together: give all of them to {stage}, or none.\n"
                f"  Given:   {', '.join(given)}\n"
                f"  Missing: {', '.join(missing)}"
            )
        loop = parts.get(f"{stage}_cfg")
        if given and not isinstance(loop, Mapping) and not hasattr(loop, "run"):
            raise TypeError(f"{stage}_cfg is a loop or a config of one, got {loop!r}")
    if parts.get("param_scheduler") and parts.get("optim_wrapper") is None:
        raise RunnerConfigError(
            "param_scheduler needs an optim_wrapper whose parameters it schedules"
        )
