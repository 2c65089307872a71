"""How gradients travel between data-parallel ranks: whole, in half precision, or approximated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as torch_dist
from torch.distributed import GradBucket, ProcessGroup
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from drivetrain.dist._errors import WrapperError

_Hook = Callable[[Any, GradBucket], Future[torch.Tensor]]


def set_comm_hook(model: DistributedDataParallel, setting: str | Mapping[str, Any]) -> None:
    """Choose how ``model`` exchanges gradients.

    Args:
        model: A data-parallel model that has no such setting yet.
        setting: ``'fp16'`` or ``'bf16'``: gradients travel in that type, at half the traffic.
            ``'powersgd'``: low-rank approximations travel; as a mapping with ``type``, the other
            keys are arguments of torch's ``PowerSGDState``, e.g.
            ``dict(type='powersgd', matrix_approximation_rank=2)``. What PowerSGD has not sent yet
            is not in checkpoints.

    Raises:
        WrapperError: If there is no such way.

    Source: Vogels, Karimireddy and Jaggi, PowerSGD (NeurIPS 2019), arXiv:1905.13727.
    """
    options = {"type": setting} if isinstance(setting, str) else dict(setting)
    kind = options.pop("type", None)
    if kind in _COMPRESSED and not options:
        model.register_comm_hook(None, _COMPRESSED[kind])
    elif kind == "powersgd":
        _set_powersgd(model, options)
    else:
        raise WrapperError(
            f"comm_hook: must be 'fp16', 'bf16' or 'powersgd' with its arguments; got {setting!r}."
        )


def _set_powersgd(model: DistributedDataParallel, options: dict[str, Any]) -> None:
    # Pulls in numpy's random machinery and more; rarely wanted.
    from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import (
        PowerSGDState,
        powerSGD_hook,
    )

    model.register_comm_hook(PowerSGDState(process_group=None, **options), powerSGD_hook)


def _compressed(dtype: torch.dtype) -> _Hook:
    """Torch's own bfloat16 hook refuses every backend but NCCL; this one takes any."""

    def exchange(group: ProcessGroup | None, bucket: GradBucket) -> Future[torch.Tensor]:
        group = group if group is not None else torch_dist.group.WORLD
        world_size = torch_dist.get_world_size(group)
        short = bucket.buffer().to(dtype).div_(world_size)
        sent = torch_dist.all_reduce(short, group=group, async_op=True)

        def restore(future: Future[Any]) -> torch.Tensor:
            buffer = bucket.buffer()
            buffer.copy_(future.value()[0])
            return buffer

        return sent.get_future().then(restore)

    # DDP compares annotations with the types themselves, and ours are strings in this module.
    exchange.__annotations__ = {"bucket": GradBucket, "return": Future[torch.Tensor]}
    return exchange


_COMPRESSED: dict[str, _Hook] = {
    "fp16": _compressed(torch.float16),
    "bf16": _compressed(torch.bfloat16),
}
