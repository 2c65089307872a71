"""``--strategy``: the same config on another number of devices."""

from __future__ import annotations

import os

from drivetrain.config import Config
from drivetrain.registry import STRATEGIES
from drivetrain.runner import RunnerConfigError

_SHORT = {
    "single": "SingleDeviceStrategy",
    "ddp": "DDPStrategy",
    "fsdp": "FSDPStrategy",
    "deepspeed": "DeepSpeedStrategy",
    "colossalai": "ColossalAIStrategy",
}


def use_strategy(cfg: Config, name: str) -> None:
    """Train by the strategy ``name`` instead of the one that the config has.

    Its arguments are those of the config's ``strategy``, where that is of the same type, else
    those under its name in the config's ``strategies``, else none.

    Args:
        cfg: The config, which is changed.
        name: ``single``, ``ddp``, ``fsdp``, ``deepspeed``, ``colossalai``, or a name in the
            registry of strategies.

    Raises:
        RunnerConfigError: If there is no such strategy, or it cannot work with the processes.
    """
    kind = _SHORT.get(name.lower(), name)
    if STRATEGIES.get(kind) is None:
        known = ", ".join([*_SHORT, *sorted(set(STRATEGIES.module_dict) - set(_SHORT.values()))])
        raise RunnerConfigError(f"--strategy: no strategy {name!r}.\n  Known:  {known}")
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if kind == _SHORT["single"]:
        if ranks > 1:
            raise RunnerConfigError(
                f"--strategy {name}: trains in one process, but {ranks} were started.\n"
                "  Leave --launch out, or take ddp or fsdp."
            )
        cfg.launcher = "none"
    own = cfg.get("strategy") or {}
    options = own if own.get("type") == kind else (cfg.get("strategies") or {}).get(kind) or {}
    cfg.strategy = {**options, "type": kind}
    if cfg.get("runner_type", "Runner") == "Runner":
        cfg.runner_type = "FlexibleRunner"
