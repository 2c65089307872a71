"""Training on one device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from drivetrain.dist._device import get_device
from drivetrain.dist._errors import StrategyConfigError
from drivetrain.dist._sync_batchnorm import revert_sync_batchnorm
from drivetrain.dist.strategy._base import BaseStrategy
from drivetrain.registry import STRATEGIES


@STRATEGIES.register_module()
class SingleDeviceStrategy(BaseStrategy):
    """One process, one device; ``SyncBatchNorm`` becomes ordinary batch norm.

    Args:
        work_dir: Folder of all runs of this experiment.
        experiment_name: The time stamp is appended.
        env_kwargs: See ``BaseStrategy``; a launcher other than ``'none'`` is an error here.
        log_kwargs: Arguments of ``MMLogger``.
        auto_scale_lr: See ``BaseStrategy.scale_lr``.

    Raises:
        StrategyConfigError: If a launcher is given that starts several processes.
    """

    def __init__(
        self,
        *,
        work_dir: str = "work_dirs",
        experiment_name: str | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        log_kwargs: Mapping[str, Any] | None = None,
        auto_scale_lr: Mapping[str, Any] | None = None,
    ) -> None:
        launcher = (env_kwargs or {}).get("launcher")
        if launcher not in (None, "none"):
            raise StrategyConfigError(
                f"SingleDeviceStrategy: launcher {launcher!r} starts several processes, and each "
                "would train alone.\n  Do:  use DDPStrategy, or launcher='none'."
            )
        super().__init__(
            work_dir=work_dir,
            experiment_name=experiment_name,
            env_kwargs=env_kwargs,
            log_kwargs=log_kwargs,
            auto_scale_lr=auto_scale_lr,
        )

    def convert_model(self, model: nn.Module) -> nn.Module:
        """Replace ``SyncBatchNorm``, which has no other rank to ask."""
        return revert_sync_batchnorm(model)

    def wrap_model(self, model: nn.Module) -> nn.Module:
        """Move the model to the device."""
        return model.to(get_device())
