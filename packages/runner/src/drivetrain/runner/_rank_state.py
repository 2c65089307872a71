"""What each rank has for itself, and a checkpoint keeps one by one.

Weights, optimizer, schedules and hooks are the same on all ranks: those of rank 0 stand for all.
The rest is gathered here: a few kilobytes from each rank, and gradients only where a checkpoint is
written in the middle of an accumulation.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from drivetrain.dist import broadcast_object, gather_object, is_model_wrapper
from drivetrain.runner._loader_position import fit_to_loader, loader_state
from drivetrain.runner._progress import Progress

if TYPE_CHECKING:
    from drivetrain.runner._run_state import RunState


def gather_rank_states(runner: RunState) -> list[dict[str, Any]] | None:
    """The state of every rank, on rank 0; None on the others. To be called on all ranks."""
    state: dict[str, Any] = {}
    if runner.has_train_loop:
        state["loader"] = loader_state(runner.train_dataloader, runner.progress)
    if runner.distributed:
        accumulated = getattr(runner.optim_wrapper, "accumulated_state", None)
        state["accumulated"] = None if accumulated is None else accumulated()
        state["buffers"] = _buffers_unlike_first_rank(runner.model)
        state["message_hub"] = runner.message_hub.state_dict() if runner.rank else None
    return gather_object(state)


def load_rank_state(runner: RunState, states: list[dict[str, Any]], progress: Progress) -> None:
    """Give this rank back what belongs to it; ``progress`` gets what belongs to the loader.

    With another number of ranks only the position of the loader, which is that of all ranks
    together, means anything. Gradients that were adding up are then dropped, and the optimizer
    wrapper warns of it.
    """
    if not states:
        return
    same_ranks = len(states) == runner.world_size
    own = states[runner.rank] if same_ranks else states[0]
    progress.loader = own.get("loader")
    fit_to_loader(progress, runner.train_dataloader)
    if not same_ranks:
        return
    if own.get("accumulated") is not None:
        runner.optim_wrapper.load_accumulated_state(own["accumulated"])
    if own.get("message_hub") is not None:
        runner.message_hub.load_state_dict(own["message_hub"])
    buffers = dict(_bare(runner.model).named_buffers())
    for name, saved in (own.get("buffers") or {}).items():
        if name in buffers and buffers[name].shape == saved.shape:
            buffers[name].copy_(saved)


def _buffers_unlike_first_rank(model: Any) -> dict[str, Tensor]:
    """This rank's buffers that differ from those of rank 0, on the CPU.

    Data parallelism copies them from rank 0 before the next training step, but a validation may
    come first: it uses, say, the statistics that this rank's own last batch moved.
    """
    own = {
        name: buffer.detach().cpu()
        for name, buffer in _bare(model).named_buffers()
        if type(buffer) is Tensor
    }
    digests = {name: _digest(buffer) for name, buffer in own.items()}
    first = broadcast_object(digests)
    return {name: own[name].clone() for name in own if first.get(name) != digests[name]}


def _digest(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def _bare(model: Any) -> Any:
    return model.module if is_model_wrapper(model) else model
