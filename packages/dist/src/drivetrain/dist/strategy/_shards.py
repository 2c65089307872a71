"""State of sharded parameters as ordinary tensors, and back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

# torch.distributed.tensor takes as long to import as torch itself: functions that meet shards
# import it when they do.

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_cut(tensor: Tensor) -> bool:
    """Whether a tensor is a ``DTensor``; without that class loaded none can be."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def map_tensors(state: Any, change: Callable[[Tensor], Any]) -> Any:
    """``state`` with every tensor in it changed; the same order on every rank."""
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, Mapping):
        return {key: map_tensors(value, change) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(map_tensors(value, change) for value in state)
    return state


def gathered(keep: bool, only_cut: bool = False) -> Callable[[Tensor], Tensor | None]:
    """Whole tensors on the CPU, put together from all ranks; ``None`` where not ``keep``.

    With ``only_cut``, those that are whole stay as and where they are.
    """

    def gather(tensor: Tensor) -> Tensor | None:
        if only_cut and not is_cut(tensor):
            return tensor
        whole = cast("DTensor", tensor).full_tensor() if is_cut(tensor) else tensor
        return whole.detach().cpu() if keep else None

    return gather


def detached(tensor: Tensor) -> Tensor:
    """The tensor as it is, cut or whole."""
    # Detaching a shard takes 10 µs, and a model has hundreds.
    return tensor.detach() if tensor.requires_grad else tensor


@torch.no_grad()
def local_part(tensor: Tensor) -> Tensor:
    """The part of a tensor that this rank holds, where it is."""
    return detached(cast("DTensor", tensor).to_local() if is_cut(tensor) else tensor)


def with_local_part(tensor: Tensor, part: Tensor) -> Tensor:
    """``tensor`` as ``part`` of it, perhaps on another device than the mesh is of."""
    if not is_cut(tensor):
        return part
    from torch.distributed.tensor import DTensor

    # from_local would move the part to the device of the mesh.
    return DTensor(part, cast("DTensor", tensor)._spec, requires_grad=False)


def own_part(tensor: Tensor) -> Tensor:
    """The part of a tensor that this rank holds, as an ordinary tensor on the CPU."""
    return local_part(tensor).cpu()


def distributed_like(whole: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, equal on all ranks, cut as ``like`` is cut."""
    if not is_cut(like) or is_cut(whole):
        return whole
    from torch.distributed.tensor import distribute_tensor

    model = cast("DTensor", like)
    return distribute_tensor(whole.to(model.to_local().device), model.device_mesh, model.placements)


def from_own_part(part: Tensor, like: Tensor) -> Tensor:
    """The tensor of which each rank brings its part, cut as ``like`` is cut."""
    if not is_cut(like) or is_cut(part):
        return part
    from torch.distributed.tensor import DTensor

    model = cast("DTensor", like)
    return DTensor.from_local(
        part.to(model.to_local().device),
        model.device_mesh,
        model.placements,
        run_check=False,
        shape=model.shape,
        stride=model.stride(),
    )


def optimizer_state_like_parameters(
    state: dict[str, Any], optimizer: torch.optim.Optimizer, cut: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, Any]:
    """An optimizer's state with what belongs to each parameter cut as that parameter is.

    Args:
        state: As of ``Optimizer.state_dict``: values by the number of the parameter.
        optimizer: Whose parameters say how to cut.
        cut: Gets a value and the parameter.
    """
    params = [param for group in optimizer.param_groups for param in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    by_number = dict(zip(numbers, params, strict=True))

    def cut_values(number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        param = by_number[number]
        return {
            # Counters and the like are whole on every rank; moments have the parameter's shape.
            name: cut(value, param) if isinstance(value, Tensor) and value.dim() else value
            for name, value in values.items()
        }

    values_by_number = {
        number: cut_values(number, values) for number, values in state["state"].items()
    }
    return {**state, "state": values_by_number}


def named_wrappers(optim_wrapper: Any) -> Iterator[tuple[str | None, Any]]:
    """The single optimizer wrappers, with their names where there are several."""
    items = getattr(optim_wrapper, "items", None)
    if items is None:
        yield None, optim_wrapper
    else:
        yield from items()
