"""Automatic mixed precision: one context for all devices, and when gradients need scaling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from drivetrain.dist._device import get_device
from drivetrain.dist._errors import BackendError

_LOW_PRECISION = (torch.float16, torch.bfloat16)


@contextmanager
def autocast(
    device_type: str | None = None,
    dtype: torch.dtype | None = None,
    enabled: bool = True,
    cache_enabled: bool | None = None,
) -> Iterator[None]:
    """Run the body in mixed precision on any device.

    Args:
        device_type: ``'cuda'``, ``'cpu'``, ``'mps'``, ...; the device found by ``get_device`` by
            default.
        dtype: ``torch.float16`` or ``torch.bfloat16``. By default what torch prefers on that
            device: float16 on CUDA and MPS, bfloat16 on the CPU.
        enabled: With false the body runs in full precision, also inside another autocast.
        cache_enabled: Whether casts of one weight are kept for the length of the body; torch's
            own setting by default.

    Yields:
        Nothing.

    Raises:
        BackendError: If ``enabled`` and the device has no autocast or no such ``dtype`` in it.
            Torch alone would warn and silently compute in full precision.
    """
    device_type = get_device() if device_type is None else device_type
    if not torch.amp.is_autocast_available(device_type):
        if enabled:
            raise BackendError(f"autocast: device type {device_type!r} has no mixed precision.")
        yield
        return
    if enabled:
        _check(device_type, dtype)
    with torch.autocast(device_type, dtype=dtype, enabled=enabled, cache_enabled=cache_enabled):
        yield


def _check(device_type: str, dtype: torch.dtype | None) -> None:
    if dtype is not None and dtype not in _LOW_PRECISION:
        raise BackendError(f"autocast: dtype must be torch.float16 or torch.bfloat16, got {dtype}.")
    if device_type == "cuda" and not torch.cuda.is_available():
        raise BackendError(
            "autocast: device_type='cuda', but no CUDA device can be used here.\n"
            "  Do:  leave device_type out to use the device that is there."
        )
    if device_type == "cuda" and dtype is torch.bfloat16 and not torch.cuda.is_bf16_supported():
        raise BackendError("autocast: this CUDA device does not compute in bfloat16; use float16.")


def needs_grad_scaler(dtype: torch.dtype | None, device_type: str | None = None) -> bool:
    """Whether training in ``dtype`` needs its loss scaled.

    Only float16 does: its smallest normal number is 6e-5, so small gradients vanish. bfloat16 has
    the exponents of float32.

    Args:
        dtype: ``None`` stands for what ``autocast`` takes by default on the device.
        device_type: The device found by ``get_device`` by default.
    """
    if dtype is None:
        dtype = torch.get_autocast_dtype(get_device() if device_type is None else device_type)
    return dtype is torch.float16
