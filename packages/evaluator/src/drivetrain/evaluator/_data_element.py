"""Data elements as seen from here: the little that an evaluator asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeGuard

from torch import Tensor


class DataElement(Protocol):
    """What an evaluator asks of an annotation or a prediction."""

    def to_dict(self) -> dict[str, Any]:
        """Its data fields."""
        ...

    def to(self, device: str) -> DataElement:
        """A copy with its tensors on ``device``."""
        ...


def is_data_element(value: Any) -> TypeGuard[DataElement]:
    """Whether this is a ``BaseDataElement``, or built like one."""
    return hasattr(type(value), "metainfo_items") and hasattr(type(value), "to_dict")


def to_cpu(data: Any) -> Any:
    """``data`` with all its tensors on the CPU, through lists, tuples, mappings and elements."""
    if isinstance(data, Tensor) or is_data_element(data):
        return data.to("cpu")
    if isinstance(data, list):
        return [to_cpu(item) for item in data]
    if isinstance(data, tuple):
        items = [to_cpu(item) for item in data]
        return type(data)(*items) if hasattr(data, "_fields") else tuple(items)
    if isinstance(data, Mapping):
        return {key: to_cpu(value) for key, value in data.items()}
    return data
