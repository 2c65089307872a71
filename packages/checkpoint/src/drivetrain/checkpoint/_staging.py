"""A copy of a state in main memory that is used again and again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch

from drivetrain.checkpoint._plain import tensors_in

_LARGE_BYTES = 1 << 20


class Staging:
    """Copies states, into the same memory as long as their large tensors keep their sizes.

    What shares memory in the state shares memory in the copy, so tied weights stay one.
    """

    def __init__(self) -> None:
        self._buffers: list[torch.Tensor] = []

    def copy(self, state: Any) -> Any:
        """Return a copy of plain data; it is valid until the next call."""
        large = [storage for storage in _storages(state) if storage.nbytes() >= _LARGE_BYTES]
        if [buffer.numel() for buffer in self._buffers] != [one.nbytes() for one in large]:
            self._buffers = []  # before more is asked for: memory is for one copy
            self._buffers = _allocated(large)
        copying = _Copying(self._buffers)
        result = copying.convert(state)
        copying.finish()
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
    """One copy: each storage once, the large ones in the order in which the state holds them."""

    def __init__(self, buffers: list[torch.Tensor], *, only_from_devices: bool = False) -> None:
        self._buffers = buffers
        self._used = 0
        self._only_from_devices = only_from_devices
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
        if not _has_storage(tensor):
            return tensor.clone().cpu()
        tensor = tensor.resolve_conj().resolve_neg()
        storage = tensor.untyped_storage()
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
        if on_cpu:  # storages: torch copies a tensor of bytes at two thirds of that speed
            buffer.untyped_storage().copy_(source.untyped_storage())
            return buffer
        buffer.copy_(source, non_blocking=buffer.is_pinned())
        self._devices.add(source.device)
        return buffer

    def _buffer_like(self, source: torch.Tensor) -> torch.Tensor:
        place, size = self._used, source.numel()
        if place < len(self._buffers) and self._buffers[place].numel() == size:
            self._used += 1
            return self._buffers[place]
        return torch.empty(size, dtype=torch.uint8)


def _has_storage(tensor: torch.Tensor) -> bool:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        return False
    return tensor.untyped_storage().nbytes() > 0


def _storages(state: Any) -> Iterator[torch.UntypedStorage]:
    """Each memory of a state once, in the order in which it is copied."""
    seen: set[tuple[str, int]] = set()
    for tensor in tensors_in(state):
        if _has_storage(tensor):
            storage = tensor.untyped_storage()
            key = (str(tensor.device), storage.data_ptr())
            if key not in seen:
                seen.add(key)
                yield storage


def _allocated(storages: list[torch.UntypedStorage]) -> list[torch.Tensor]:
    """Memory for copies of these.

    For CUDA it is memory that the device can write to directly; asking for it costs, so it is kept.
    Not in large pages: on virtual machines the first touch of those took three times the copy.
    """
    return [
        torch.empty(one.nbytes(), dtype=torch.uint8, pin_memory=one.device.type == "cuda")
        for one in storages
    ]
