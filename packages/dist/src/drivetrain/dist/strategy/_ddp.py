"""Training a copy of the model on each of several devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from drivetrain.dist._ddp import is_model_wrapper
from drivetrain.dist._device import get_device
from drivetrain.dist._errors import StrategyConfigError
from drivetrain.dist._sync_batchnorm import convert_sync_batchnorm
from drivetrain.dist.strategy._first_generation import FirstGenerationState
from drivetrain.registry import MODEL_WRAPPERS, STRATEGIES

_DEFAULT_WRAPPER = {
    "type": "MMDistributedDataParallel",
    "broadcast_buffers": False,
    "find_unused_parameters": False,
}


@STRATEGIES.register_module()
class DDPStrategy(FirstGenerationState):
    """One process a device, each with a copy of the model; gradients are averaged at each step.

    Args:
        sync_bn: ``'torch'``, ``'portable'`` or ``'mmcv'`` makes each batch norm one over all ranks;
            see ``convert_sync_batchnorm``.
        model_wrapper: Config of the wrapper; ``type`` is ``MMDistributedDataParallel`` by default,
            the rest are its arguments, e.g. ``find_unused_parameters``. Among the others is
            ``MMFullyShardedDataParallel``, the first generation of sharding.
        **kwargs: See ``BaseStrategy``.
    """

    several_processes = True

    def __init__(
        self,
        *,
        sync_bn: str | None = None,
        model_wrapper: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sync_bn = sync_bn
        self.model_wrapper = model_wrapper

    def convert_model(self, model: nn.Module) -> nn.Module:
        """Make batch norms span all ranks if so asked.

        Args:
            model: The model; changed in place.

        Returns:
            ``model``, or its replacement when it is a batch norm itself.

        Raises:
            StrategyConfigError: If ``sync_bn`` is ``'torch'`` and there is no accelerator.
            BackendError: If the implementation is unknown or not installed.
        """
        if self.sync_bn is None:
            return model
        if self.sync_bn == "torch" and get_device() == "cpu":
            raise StrategyConfigError(
                "DDPStrategy: sync_bn='torch' trains on accelerators only, and there is none.\n"
                "  Do:  sync_bn='portable'."
            )
        return convert_sync_batchnorm(model, self.sync_bn)

    def wrap_model(self, model: nn.Module) -> nn.Module:
        """Move the model to this rank's device, and wrap it unless it is wrapped already."""
        if is_model_wrapper(model):
            return model
        model = model.to(get_device())
        config = {**_DEFAULT_WRAPPER, **(self.model_wrapper or {})}
        if config["type"] != _DEFAULT_WRAPPER["type"]:  # another wrapper, with other arguments
            config = dict(self.model_wrapper or {})
        elif get_device() not in ("cpu", "mps"):
            config.setdefault("device_ids", [torch.accelerator.current_device_index()])
        return MODEL_WRAPPERS.build({**config, "module": model})
