"""On which device data lies, and how it gets to the one on which ranks talk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from drivetrain.dist._errors import DataMismatchError
from drivetrain.dist._group import get_backend

# Backends whose collectives take tensors of one accelerator only.
_BACKEND_DEVICES = {
    "nccl": "cuda",
    "hccl": "npu",
    "cncl": "mlu",
    "mccl": "musa",
    "xccl": "xpu",
}


def get_comm_device(group: ProcessGroup | None = None) -> torch.device:
    """The device that a tensor must be on to travel through ``group``.

    Gloo and MPI take tensors of the CPU; NCCL and its kin those of this rank's accelerator.

    Args:
        group: All ranks by default.
    """
    device_type = _BACKEND_DEVICES.get(get_backend(group) or "gloo", "cpu")
    if device_type == "cpu":
        return torch.device("cpu")
    return torch.device(device_type, getattr(torch, device_type).current_device())


def get_data_device(data: Tensor | Sequence[Any] | Mapping[Any, Any]) -> torch.device:
    """The device of ``data``, which is a tensor or a sequence or mapping of such.

    Args:
        data: Sequences and mappings may hold others.

    Raises:
        TypeError: If ``data`` holds something else.
        ValueError: If ``data`` is empty, or its tensors lie on several devices.
    """
    if isinstance(data, Tensor):
        return data.device
    if isinstance(data, Mapping):
        items = list(data.values())
    elif isinstance(data, Sequence) and not isinstance(data, str | bytes):
        items = list(data)
    else:
        raise TypeError(
            f"get_data_device: expected a tensor or a sequence or mapping of tensors, "
            f"got {type(data).__name__}."
        )
    if not items:
        raise ValueError("get_data_device: data is empty, so it has no device.")
    devices = {get_data_device(item) for item in items}
    if len(devices) > 1:
        found = ", ".join(sorted(map(str, devices)))
        raise ValueError(f"get_data_device: data should be on one device, found {found}.")
    return devices.pop()


def cast_data_device(data: Any, device: torch.device, out: Any = None) -> Any:
    """``data`` with every tensor in it on ``device``; those that are there already are not copied.

    Args:
        data: A tensor, or a list, tuple or mapping of such, nested at will.
        device: Where to.
        out: Same structure as ``data``; receives the values in place when given.

    Returns:
        ``out`` when given, else data of the same structure.

    Raises:
        TypeError: If ``data`` holds something else, or ``out`` is of another type.
        DataMismatchError: If ``out`` has other keys or another length.
    """
    if out is not None:
        _copy_into(data, out)
        return out
    container: Any = type(data)
    if isinstance(data, Tensor):
        return data if data.device == torch.device(device) else data.to(device)
    if isinstance(data, Mapping):
        return container({key: cast_data_device(item, device) for key, item in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):  # a namedtuple
        return container(*(cast_data_device(item, device) for item in data))
    if isinstance(data, list | tuple):
        return container(cast_data_device(item, device) for item in data)
    raise _unknown_type(data)


def _copy_into(data: Any, out: Any) -> None:
    if isinstance(data, Tensor) and isinstance(out, Tensor):
        out.copy_(data)
    elif type(data) is not type(out):
        raise TypeError(
            f"cast_data_device: data is {type(data).__name__}, but out is {type(out).__name__}."
        )
    elif isinstance(data, Mapping):
        if data.keys() != out.keys():
            raise DataMismatchError("cast_data_device: out has other keys than data.")
        for key in data:
            _copy_into(data[key], out[key])
    elif isinstance(data, list | tuple):
        if len(data) != len(out):
            raise DataMismatchError(
                f"cast_data_device: data has {len(data)} items, but out has {len(out)}."
            )
        for item, target in zip(data, out, strict=True):
            _copy_into(item, target)
    else:
        raise _unknown_type(data)


def _unknown_type(data: Any) -> TypeError:
    return TypeError(
        f"cast_data_device: expected a tensor, list, tuple or mapping, got {type(data).__name__}."
    )
