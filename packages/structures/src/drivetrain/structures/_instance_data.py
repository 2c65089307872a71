"""Several instances, for instance the objects in one image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence, Sized
from typing import Any

import numpy as np
import torch

from drivetrain.structures._base_data_element import BaseDataElement
from drivetrain.structures._errors import ElementIndexError, FieldShapeError, FieldTypeError

Index = str | int | slice | list[int] | list[bool] | np.ndarray | torch.Tensor


class InstanceData(BaseDataElement):
    """Data about N instances: every data field has N entries along its first dimension.

    A field may be a tensor, an array, a list, a tuple, a string, or any object with ``__len__``,
    ``__getitem__`` and a static method ``cat`` that joins a list of its kind.

    Indexing returns a new element with the chosen instances and the same meta information.

    Example:
        >>> boxes = InstanceData(scores=torch.tensor([0.8, 0.7]), names=["cat", "dog"])
        >>> boxes[boxes.scores > 0.75].names
        ['cat']
        >>> len(InstanceData.cat([boxes, boxes]))
        4
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("_metainfo_fields", "_data_fields") and name not in self._metainfo_fields:
            self._check_length(name, value)
        super().__setattr__(name, value)

    __setitem__ = __setattr__

    def __len__(self) -> int:
        names = self.keys()
        return len(getattr(self, names[0])) if names else 0

    def __getitem__(self, item: Index) -> Any:
        """Return a field by its name, or an element with some of the instances.

        Args:
            item: A name; an index (the result has one instance); a slice; or a list, an array or a
                tensor of indices or of ``N`` booleans.

        Raises:
            FieldTypeError: If ``item`` is of another type.
            ElementIndexError: If an index is out of range, or there are not ``N`` booleans.
        """
        if isinstance(item, str):
            return getattr(self, item)
        chosen = self._as_index(item)
        result = type(self)(metainfo=self.metainfo)
        for name, value in self.items():
            result[name] = value[chosen] if isinstance(chosen, slice) else _take(value, chosen)
        return result

    @staticmethod
    def cat(instances_list: Sequence[Any]) -> Any:
        """Join elements with the same data fields, one after the other.

        Args:
            instances_list: At least one element; the first gives type and meta information.

        Returns:
            An element of the type of the first; the first itself where it is the only one.

        Raises:
            FieldTypeError: If the list holds something else, or a field cannot be joined.
            FieldShapeError: If the list is empty, or the elements have different fields.
        """
        if not instances_list:
            raise FieldShapeError("cat needs at least one element")
        if not all(isinstance(instances, InstanceData) for instances in instances_list):
            kinds = sorted({type(instances).__name__ for instances in instances_list})
            raise FieldTypeError(f"cat joins InstanceData, got {', '.join(kinds)}")
        first = instances_list[0]
        if len(instances_list) == 1:
            return first
        _require_same_fields(instances_list)
        result = type(first)(metainfo=first.metainfo)
        for name, _ in first.items():
            result[name] = _joined(name, [instances[name] for instances in instances_list])
        return result

    def _check_length(self, name: str, value: Any) -> None:
        if not isinstance(value, Sized):
            raise FieldTypeError(
                f"{type(self).__name__}.{name} needs one entry per instance, "
                f"but {type(value).__name__} has no length"
            )
        others = [key for key in self.keys() if key != name and key != name.lstrip("_")]
        if others and len(value) != len(self):
            raise FieldShapeError(
                f"{type(self).__name__}.{name} has {len(value)} entries, "
                f"but there are {len(self)} instances (as {others[0]!r} says)"
            )

    def _as_index(self, item: Any) -> slice | torch.Tensor:
        if isinstance(item, slice):
            return item
        if isinstance(item, (int, np.integer)) and not isinstance(item, bool):
            if not -len(self) <= item < len(self):
                raise ElementIndexError(f"index {item} is out of range for {len(self)} instances")
            return slice(int(item), None, max(len(self), 1))  # keeps the dimension
        if isinstance(item, list):
            item = np.array(item, dtype=None if item else np.int64)
        if isinstance(item, np.ndarray):
            if item.dtype.kind not in "biu":
                raise FieldTypeError(f"indices must be integers or booleans, got {item.dtype}")
            item = torch.from_numpy(item if item.dtype == bool else item.astype(np.int64))
        if not isinstance(item, torch.Tensor):
            raise FieldTypeError(
                "instances are chosen by a name, an int, a slice, or a list, array or tensor of "
                f"indices or booleans; got {type(item).__name__}"
            )
        return self._checked_tensor(item)

    def _checked_tensor(self, item: torch.Tensor) -> torch.Tensor:
        if item.dim() != 1:
            raise ElementIndexError(
                f"instances lie along one dimension, but the index has {item.dim()}"
            )
        if item.dtype == torch.bool:
            if len(item) != len(self):
                raise ElementIndexError(
                    f"{len(item)} booleans cannot choose of {len(self)} instances"
                )
            return item
        if item.is_floating_point() or item.is_complex():
            raise FieldTypeError(f"indices must be integers or booleans, got {item.dtype}")
        if item.is_cpu and item.numel():  # elsewhere a look would wait for the device
            low, high = int(item.min()), int(item.max())
            if low < -len(self) or high >= len(self):
                wrong = low if low < -len(self) else high
                raise ElementIndexError(f"index {wrong} is out of range for {len(self)} instances")
        return item.long()


def _take(value: Any, index: torch.Tensor) -> Any:
    """Choose entries of a field of any kind."""
    if isinstance(value, torch.Tensor):
        return value[index.to(value.device)]
    if isinstance(value, np.ndarray):
        return value[index.cpu().numpy()]
    positions = (index.nonzero().flatten() if index.dtype == torch.bool else index).tolist()
    if isinstance(value, str):
        return "".join(value[position] for position in positions)
    if isinstance(value, (list, tuple)):
        return type(value)(value[position] for position in positions)
    if hasattr(value, "cat"):
        if not positions:
            return value[:0]
        size = len(value)
        return value.cat([value[slice(position, None, size)] for position in positions])
    raise FieldTypeError(
        f"{type(value).__name__} cannot be indexed by a list: it needs a static method cat"
    )


def _joined(name: str, values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor):
        return _concatenated(name, values, torch.cat)
    if isinstance(first, np.ndarray):
        return _concatenated(name, values, np.concatenate)
    if isinstance(first, str):
        return "".join(values)
    if isinstance(first, (list, tuple)):
        return type(first)(itertools.chain(*values))
    if hasattr(first, "cat"):
        return first.cat(values)
    raise FieldTypeError(
        f"{name!r} cannot be joined: {type(first).__name__} has no static method cat"
    )


def _concatenated(name: str, values: list[Any], join: Callable[[list[Any]], Any]) -> Any:
    try:
        return join(values)
    except (RuntimeError, TypeError, ValueError) as err:
        shapes = [tuple(value.shape) if hasattr(value, "shape") else value for value in values]
        raise FieldShapeError(f"cat: {name!r} cannot be joined, its shapes are {shapes}") from err


def _require_same_fields(instances_list: Sequence[InstanceData]) -> None:
    wanted = set(instances_list[0].all_keys())
    for position, instances in enumerate(instances_list):
        different = wanted ^ set(instances.all_keys())
        if different:
            raise FieldShapeError(
                f"cat: element {position} has other fields than element 0; "
                f"only one of the two has {', '.join(sorted(different))}"
            )
