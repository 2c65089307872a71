"""From the batch of a data loader to the input of a model, on the model's device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.registry import MODELS


@MODELS.register_module()
class BaseDataPreprocessor(nn.Module):
    """Copies a batch to the device that the model is on.

    It follows its model: ``model.to(...)``, ``.cuda()``, ``.cpu()`` set the device, and converting
    the model, as ``.half()`` does, also converts floating-point inputs. What is in place is not
    copied.

    Override :meth:`forward` for augmentation or normalization of whole batches on the device.

    Args:
        non_blocking: Copy from pinned memory without waiting.
    """

    def __init__(self, non_blocking: bool | None = False) -> None:
        super().__init__()
        self._non_blocking = bool(non_blocking)
        self._device = torch.device("cpu")
        self._dtype: torch.dtype | None = None

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self._device

    @property
    def passes_cpu_tensors(self) -> bool:
        """Whether a tensor on the CPU is where it belongs, and as it should be."""
        return self._dtype is None and self._device.type == "cpu"

    def cast_data(self, data: Any) -> Any:
        """Copy all tensors in ``data`` to the device; containers keep their type.

        Args:
            data: Tensors, objects with a ``to`` method, or dicts, lists, tuples and named tuples
                of them, nested at will. Anything else stays as it is.

        Returns:
            ``data`` in the same containers; tensors that lie on the device already are not copied.
            Floating-point tensors get the dtype that the preprocessor was cast to, e.g. by
            ``half()``.
        """
        kind = type(data)
        # The containers of nearly all batches first: asking an abstract class costs a microsecond.
        if isinstance(data, Tensor):
            if data.device == self._device and self._dtype is None:
                return data
            return self._cast_tensor(data)
        if kind is dict:
            return {key: self.cast_data(value) for key, value in data.items()}
        if kind is list or kind is tuple:
            return kind(self._cast_items(data))
        if data is None or isinstance(data, str | bytes | int | float):
            return data
        rebuild: Callable[..., Any] = type(data)
        if isinstance(data, Mapping):
            return rebuild({key: self.cast_data(value) for key, value in data.items()})
        if isinstance(data, tuple) and hasattr(data, "_fields"):
            return rebuild(*(self.cast_data(item) for item in data))
        if isinstance(data, Sequence):
            return rebuild([self.cast_data(item) for item in data])
        if hasattr(data, "to") and not self._is_in_place(data):  # a data element
            return data.to(self._device, non_blocking=self._non_blocking)
        return data

    def forward(self, data: Any, training: bool = False) -> Any:
        """Return the batch as the model's ``forward`` takes it.

        Args:
            data: What the data loader gave.
            training: Whether the model is being trained; for augmentation.

        Returns:
            ``data``, on the device, as :meth:`cast_data` gives it.
        """
        return self.cast_data(data)

    def _cast_items(self, items: list[Any] | tuple[Any, ...]) -> list[Any]:
        # Tensors in place are passed right here: a call for each would be most of the time.
        cast = self.cast_data
        if self.passes_cpu_tensors:
            return [x if isinstance(x, Tensor) and x.is_cpu else cast(x) for x in items]
        home = self._device if self._dtype is None else None
        return [x if isinstance(x, Tensor) and x.device == home else cast(x) for x in items]

    def _is_in_place(self, value: Any) -> bool:
        """Tell whether moving ``value`` would change nothing; moving one element takes 25 us."""
        if isinstance(value, Tensor):
            return value.device == self._device
        if hasattr(value, "values") and hasattr(value, "to"):
            return all(self._is_in_place(part) for part in value.values())
        return not hasattr(value, "to")

    def _cast_tensor(self, tensor: Tensor) -> Tensor:
        if self._dtype is not None and tensor.is_floating_point():
            return tensor.to(self._device, self._dtype, non_blocking=self._non_blocking)
        return tensor.to(self._device, non_blocking=self._non_blocking)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BaseDataPreprocessor:
        # Every move of a module, or of one that it is part of, comes through here.
        super()._apply(fn, recurse)
        dtype = self._dtype or torch.float32
        probe = fn(torch.empty(1, dtype=dtype, device=self._device))
        if probe.device.type != "meta":
            self._device = probe.device
        if probe.dtype != dtype:
            self._dtype = None if probe.dtype == torch.float32 else probe.dtype
        return self
