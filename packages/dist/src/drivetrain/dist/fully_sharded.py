"""The first generation of sharding (FSDP1), for configs that name it.

A module of its own: ``torch.distributed.fsdp`` takes as long to import as torch itself. New work is
better off with ``drivetrain.dist.strategy.FSDPStrategy``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.fsdp import (
    BackwardPrefetch,
    CPUOffload,
    FullyShardedDataParallel,
    MixedPrecision,
    ShardingStrategy,
)
from torch.distributed.fsdp import wrap as torch_wrap_policies

from drivetrain.dist._ddp import run_forward
from drivetrain.dist._device import get_device
from drivetrain.dist._errors import WrapperError
from drivetrain.dist._protocols import OptimizerWrapper
from drivetrain.registry import FUNCTIONS, MODEL_WRAPPERS

__all__ = ["MMFullyShardedDataParallel"]

_PREFETCH = {
    "pre": BackwardPrefetch.BACKWARD_PRE,
    "post": BackwardPrefetch.BACKWARD_POST,
    "backward_pre": BackwardPrefetch.BACKWARD_PRE,
    "backward_post": BackwardPrefetch.BACKWARD_POST,
}
# Torch renamed it; configs of the reference engine have the old name.
_RENAMED_POLICIES = {"default_auto_wrap_policy": "size_based_auto_wrap_policy"}


@MODEL_WRAPPERS.register_module()
class MMFullyShardedDataParallel(FullyShardedDataParallel):
    """``FullyShardedDataParallel`` with the steps that a loop calls, and arguments from a config.

    Args:
        module: A model with ``data_preprocessor`` and ``parse_losses``.
        process_group: Over which ranks; all by default.
        cpu_offload: Whether shards wait on the CPU (with an accelerator), or ``CPUOffload``.
        fsdp_auto_wrap_policy: Which parts are sharded on their own: a function, or the name of one
            in the registry ``FUNCTIONS`` or in ``torch.distributed.fsdp.wrap``.
        backward_prefetch: ``'pre'``, ``'post'``, or torch's ``BackwardPrefetch``.
        **kwargs: Those of ``FullyShardedDataParallel``; ``sharding_strategy`` may be a name,
            ``mixed_precision`` a mapping of names of types. ``use_orig_params`` is true by default,
            so that parameters keep their names.

    Raises:
        WrapperError: If a policy, ``backward_prefetch``, ``sharding_strategy`` or a type has an
            unknown name.
    """

    def __init__(
        self,
        module: nn.Module,
        process_group: ProcessGroup | None = None,
        cpu_offload: bool | CPUOffload | None = None,
        fsdp_auto_wrap_policy: str | Callable[..., Any] | None = None,
        backward_prefetch: str | BackwardPrefetch | None = None,
        **kwargs: Any,
    ) -> None:
        options: dict[str, Any] = {"use_orig_params": True, "device_id": _device_id(), **kwargs}
        if isinstance(options.get("sharding_strategy"), str):
            options["sharding_strategy"] = _sharding_strategy(options["sharding_strategy"])
        if isinstance(options.get("mixed_precision"), dict):
            options["mixed_precision"] = _mixed_precision(options["mixed_precision"])
        super().__init__(
            module=module,
            process_group=process_group,
            cpu_offload=CPUOffload(cpu_offload) if isinstance(cpu_offload, bool) else cpu_offload,
            auto_wrap_policy=_wrap_policy(fsdp_auto_wrap_policy),
            backward_prefetch=_prefetch(backward_prefetch),
            **options,
        )

    def train_step(self, data: Any, optim_wrapper: OptimizerWrapper) -> dict[str, Tensor]:
        """One step: preprocess, forward, losses, backward, update.

        Args:
            data: A batch as the loader gave it.
            optim_wrapper: Updates the parameters.

        Returns:
            What to log, as detached tensors.
        """
        model: Any = self.module
        self._clip_whole_gradients(optim_wrapper)
        with optim_wrapper.optim_context(self):
            data = model.data_preprocessor(data, training=True)
            losses = run_forward(self, data, mode="loss")
        loss, log_vars = model.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return log_vars

    def _clip_whole_gradients(self, optim_wrapper: Any) -> None:
        """Let a wrapper that clips by norm take the norm over all ranks; it sees shards only."""
        clipper: Any = getattr(optim_wrapper, "clipper", None)
        if getattr(clipper, "kind", None) == "norm":
            optim_wrapper.clipper = functools.partial(_clip_by_norm, self, clipper.arguments)

    def val_step(self, data: Any) -> Any:
        """Predictions during validation, through the wrapper: it holds the parameters."""
        model: Any = self.module
        return run_forward(self, model.data_preprocessor(data, False), mode="predict")

    def test_step(self, data: Any) -> Any:
        """Predictions during testing."""
        return self.val_step(data)


def _clip_by_norm(
    model: FullyShardedDataParallel, settings: dict[str, Any], params: list[Tensor]
) -> Tensor:
    """Clip all of the model's gradients; ``params`` are this rank's shards of them."""
    unknown = set(settings) - {"max_norm", "norm_type"}
    if unknown:
        raise WrapperError(
            f"clip_grad: MMFullyShardedDataParallel takes max_norm and norm_type, not "
            f"{', '.join(sorted(unknown))}."
        )
    return model.clip_grad_norm_(settings["max_norm"], settings.get("norm_type", 2.0))


def _device_id() -> torch.device:
    device_type = get_device()
    if device_type == "cpu":
        return torch.device("cpu")
    return torch.device(device_type, torch.accelerator.current_device_index())


def _wrap_policy(policy: str | Callable[..., Any] | None) -> Callable[..., Any] | None:
    if not isinstance(policy, str):
        return policy
    name = _RENAMED_POLICIES.get(policy, policy)
    found = FUNCTIONS.get(name) or getattr(torch_wrap_policies, name, None)
    if found is None:
        raise WrapperError(
            f"fsdp_auto_wrap_policy: no function {policy!r} in the registry FUNCTIONS or in "
            "torch.distributed.fsdp.wrap."
        )
    return found


def _prefetch(when: str | BackwardPrefetch | None) -> BackwardPrefetch | None:
    if not isinstance(when, str):
        return when
    if when.lower() not in _PREFETCH:
        raise WrapperError(f"backward_prefetch: must be 'pre' or 'post', got {when!r}.")
    return _PREFETCH[when.lower()]


def _sharding_strategy(name: str) -> ShardingStrategy:
    if name.upper() not in ShardingStrategy.__members__:
        known = ", ".join(ShardingStrategy.__members__)
        raise WrapperError(f"sharding_strategy: must be one of {known}; got {name!r}.")
    return ShardingStrategy[name.upper()]


def _mixed_precision(settings: dict[str, Any]) -> MixedPrecision:
    options = {
        key: getattr(torch, value) if isinstance(value, str) else value
        for key, value in settings.items()
    }
    return MixedPrecision(**options)
