"""Which accelerator this machine has, and how much of its memory was used."""

from __future__ import annotations

import functools
import importlib
import importlib.util

import torch

_MEGABYTE = 1024 * 1024

# Vendor back ends that live in a package of their own; their module registers the device type
# with torch when it is imported, so it is imported only where it is installed.
_VENDOR_MODULES = {"npu": "torch_npu", "mlu": "torch_mlu", "musa": "torch_musa"}


def _accelerator_type() -> str | None:
    """Type of the accelerator that torch sees and can use."""
    if not torch.accelerator.is_available():
        return None
    device = torch.accelerator.current_accelerator()
    return None if device is None else device.type


@functools.cache
def _is_installed(module: str) -> bool:
    # Asked anew for each state of the random generators; looking along sys.path takes 0.1 ms.
    return importlib.util.find_spec(module) is not None


def _is_vendor_available(device_type: str) -> bool:
    if not _is_installed(_VENDOR_MODULES[device_type]):
        return False
    importlib.import_module(_VENDOR_MODULES[device_type])
    module = getattr(torch, device_type, None)
    return module is not None and bool(module.is_available())


def is_cuda_available() -> bool:
    """Whether a CUDA (or ROCm) device can be used."""
    return torch.cuda.is_available()


def is_npu_available() -> bool:
    """Whether an Ascend NPU and its ``torch_npu`` can be used."""
    return _is_vendor_available("npu")


def is_mlu_available() -> bool:
    """Whether a Cambricon MLU and its ``torch_mlu`` can be used."""
    return _is_vendor_available("mlu")


def is_musa_available() -> bool:
    """Whether a Moore Threads device and its ``torch_musa`` can be used."""
    return _is_vendor_available("musa")


def is_mps_available() -> bool:
    """Whether Apple's Metal backend can be used."""
    return torch.backends.mps.is_available()


def is_xpu_available() -> bool:
    """Whether an Intel GPU can be used."""
    return hasattr(torch, "xpu") and torch.xpu.is_available()


def get_device() -> str:
    """Type of the device to compute on.

    Returns:
        ``'cuda'``, ``'mps'``, ``'xpu'``, the type of a vendor's accelerator (``'npu'``,
        ``'mlu'``, ``'musa'``), or ``'cpu'`` where there is none.
    """
    found = _accelerator_type()
    if found is not None:
        return found
    return next((kind for kind in _VENDOR_MODULES if _is_vendor_available(kind)), "cpu")


def get_max_memory(device: torch.device | str | None = None) -> int:
    """Peak memory that tensors occupied on ``device``, in megabytes; 0 where nobody counts it.

    Counts since the start of the program or since ``reset_peak_memory``. The CPU and MPS keep no
    such count.

    Args:
        device: The current device of the kind that ``get_device`` finds by default.

    Returns:
        Whole megabytes (of 2**20 bytes), rounded down.
    """
    device_type = get_device() if device is None else torch.device(device).type
    module = getattr(torch, device_type, None)
    peak = getattr(module, "max_memory_allocated", None)
    if peak is None or device_type in ("cpu", "mps"):
        return 0
    return int(peak(device)) // _MEGABYTE


def reset_peak_memory(device: torch.device | str | None = None) -> None:
    """Start counting peak memory afresh; nothing where nobody counts it."""
    device_type = get_device() if device is None else torch.device(device).type
    reset = getattr(getattr(torch, device_type, None), "reset_peak_memory_stats", None)
    if reset is not None and device_type not in ("cpu", "mps"):
        reset(device)


def get_max_cuda_memory(device: torch.device | None = None) -> int:
    """Peak memory that tensors occupied on a CUDA device, in megabytes; 0 without one.

    Of this rank alone, since the start of the program or since ``reset_peak_memory``.

    Args:
        device: The current CUDA device by default.

    Returns:
        Whole megabytes (of 2**20 bytes), rounded down.
    """
    return get_max_memory(device or "cuda") if is_cuda_available() else 0


def get_max_musa_memory(device: torch.device | None = None) -> int:
    """Peak memory that tensors occupied on a Moore Threads device, in megabytes."""
    return get_max_memory(device or "musa") if is_musa_available() else 0
