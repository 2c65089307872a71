"""A copy of a state in main memory that is used again and again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch


class Staging:
    """Copies states, into the same memory as long as their tensors keep their sizes.

    What shares memory in the state shares memory in the copy, so tied weights stay one.
    """

    def __init__(self) -> None:
        self._buffers: list[torch.Tensor] = []

    def copy(self, state: Any) -> Any:
        """Return a copy of plain data; it is valid until the next call."""
        copying = _Copying(self._buffers)
        result = copying.convert(state)
        copying.finish()
        self._buffers = copying.used
        return result


def in_main_memory(state: Any) -> Any:
    """Return plain data with all tensors in main memory; those that are there are not copied.

    What shares memory in the state shares memory in the result, so tied weights stay one.
    """
    copying = _Copying([], only_from_devices=True)
    result = copying.convert(state)
    copying.finish()
    return result


class _Copying:
    """One copy: each storage once, in the order in which the state holds them."""

    def __init__(self, buffers: list[torch.Tensor], *, only_from_devices: bool = False) -> None:
        self.used: list[torch.Tensor] = []
        self._only_from_devices = only_from_devices
        self._old = buffers
        self._copies: dict[tuple[str, int], torch.Tensor] = {}
        self._devices: set[torch.device] = set()

    def convert(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._tensor(value.detach())
        if isinstance(value, dict):
            result: dict[Any, Any] = OrderedDict() if isinstance(value, OrderedDict) else {}
            result.update((key, self.convert(item)) for key, item in value.items())
            if hasattr(value, "_metadata"):
                result._metadata = value._metadata  # type: ignore[attr-defined]  # as torch does
            return result
        if type(value) in (list, tuple):
            return type(value)(self.convert(item) for item in value)
        return value

    def finish(self) -> None:
        """Wait for copies from other devices."""
        for device in self._devices:
            torch.accelerator.synchronize(device)

    def _tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        if self._only_from_devices and tensor.device.type in ("cpu", "meta"):
            return tensor
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
            return tensor.clone().cpu()
        tensor = tensor.resolve_conj().resolve_neg()
        storage = tensor.untyped_storage()
        if storage.nbytes() == 0:
            return tensor.clone().cpu()
        key = (str(tensor.device), storage.data_ptr())
        if key not in self._copies:
            source = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            self._copies[key] = self._copied(source)
        copy = torch.empty(0, dtype=tensor.dtype)
        return copy.set_(
            self._copies[key].untyped_storage(),
            tensor.storage_offset(),
            tensor.size(),
            tensor.stride(),
        )

    def _copied(self, source: torch.Tensor) -> torch.Tensor:
        buffer = self._buffer_like(source)
        on_cpu = source.device.type == "cpu"
        buffer.copy_(source, non_blocking=not on_cpu and buffer.is_pinned())
        if not on_cpu:
            self._devices.add(source.device)
        self.used.append(buffer)
        return buffer

    def _buffer_like(self, source: torch.Tensor) -> torch.Tensor:
        place = len(self.used)
        if place < len(self._old) and self._old[place].numel() == source.numel():
            return self._old[place]
        # Memory that the device can write to directly; asking for it costs, so it is kept.
        pinned = source.device.type == "cuda" and not self._only_from_devices
        return torch.empty(source.numel(), dtype=torch.uint8, pin_memory=pinned)
