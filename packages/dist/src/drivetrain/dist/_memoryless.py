"""Models without memory: the structure of a model, and memory for it later."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn


def without_memory(model: nn.Module) -> nn.Module:
    """A copy of ``model`` whose parameters are on the ``meta`` device; shared ones stay shared.

    Buffers are few and small, and some are in no state dict: these are copied.
    """
    memo: dict[int, nn.Parameter] = {}
    for param in model.parameters():
        empty = torch.empty_like(param, device="meta")
        memo[id(param)] = nn.Parameter(empty, requires_grad=param.requires_grad)
    return copy.deepcopy(model, memo)


def give_memory(
    model: nn.Module, params_on: torch.device | str, buffers_on: torch.device | str
) -> None:
    """Give what of ``model`` is on ``meta`` memory of unknown content, in place.

    Unlike ``to_empty``, parameters that modules share stay shared.
    """
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, param in module._parameters.items():
            if param is not None and param.is_meta:
                if id(param) not in made:
                    empty = torch.empty_like(param, device=params_on)
                    made[id(param)] = nn.Parameter(empty, requires_grad=param.requires_grad)
                module._parameters[name] = made[id(param)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                empty = torch.empty_like(buffer, device=buffers_on)
                module._buffers[name] = empty if buffer.is_meta else buffer.to(buffers_on)


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, also those that are in no state dict; shared ones once."""
    yield from model.named_parameters()
    yield from model.named_buffers()
