"""Which arguments of a runner belong together."""

from __future__ import annotations

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
    """Refuse a stage of which only a part is given.

    Raises:
        RunnerConfigError: If so; names the stage and what is missing.
    """
    for stage, names in STAGE_PARTS.items():
        given = [name for name in names if parts.get(name) is not None]
        missing = [name for name in names if name not in given]
        if given and missing:
            raise RunnerConfigError(
                f"{', '.join(names)} belong together: give all of them to {stage}, or none.\n"
                f"  Given:   {', '.join(given)}\n"
                f"  Missing: {', '.join(missing)}"
            )
    if parts.get("param_scheduler") and parts.get("optim_wrapper") is None:
        raise RunnerConfigError(
            "param_scheduler needs an optim_wrapper whose parameters it schedules"
        )
