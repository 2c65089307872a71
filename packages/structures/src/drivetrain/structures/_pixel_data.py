"""Maps over the pixels of one image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from drivetrain.structures._base_data_element import BaseDataElement
from drivetrain.structures._errors import ElementIndexError, FieldShapeError, FieldTypeError

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on; checkers bring it

# C channels, H height, W width (pixels)


class PixelData(BaseDataElement):
    """Maps of one image: every data field is a ``(C, H, W)`` tensor or array of the same H and W.

    A ``(H, W)`` map becomes ``(1, H, W)``. Indexing with two slices or integers crops all maps; an
    integer keeps its dimension.

    Example:
        >>> maps = PixelData(edges=torch.zeros(20, 40))
        >>> maps.shape, maps.edges.shape
        ((20, 40), torch.Size([1, 20, 40]))
        >>> maps[10:20, 20].shape
        (10, 1)
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("_metainfo_fields", "_data_fields") and name not in self._metainfo_fields:
            value = self._checked_map(name, value)
        super().__setattr__(name, value)

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width of the maps; None as long as there is none."""
        names = self.keys()
        if not names:
            return None
        height, width = getattr(self, names[0]).shape[-2:]
        return (int(height), int(width))

    def __getitem__(self, item: tuple[int | slice, int | slice]) -> Self:
        """Crop: rows and columns, each a slice or an integer.

        Raises:
            FieldTypeError: If ``item`` is something else.
            ElementIndexError: If an integer is out of range.
        """
        if not isinstance(item, tuple) or len(item) != 2:
            raise FieldTypeError(f"maps are cropped by two slices or integers, got {item!r}")
        height, width = self.shape or (0, 0)
        window = (slice(None), _as_slice(item[0], height), _as_slice(item[1], width))
        result = type(self)(metainfo=self.metainfo)
        result.set_data({name: value[window] for name, value in self.items()})
        return result

    def _checked_map(self, name: str, value: Any) -> Any:
        if not isinstance(value, (torch.Tensor, np.ndarray)):
            raise FieldTypeError(
                f"{type(self).__name__}.{name} takes a tensor or an array, "
                f"got {type(value).__name__}"
            )
        if value.ndim not in (2, 3):
            raise FieldShapeError(
                f"{type(self).__name__}.{name} takes (H, W) or (C, H, W), got {tuple(value.shape)}"
            )
        others = [key for key in self.keys() if key != name and key != name.lstrip("_")]
        if others and tuple(value.shape[-2:]) != self.shape:
            raise FieldShapeError(
                f"{type(self).__name__}.{name} has height and width {tuple(value.shape[-2:])}, "
                f"but the others have {self.shape} (as {others[0]!r} says)"
            )
        return value[None] if value.ndim == 2 else value


def _as_slice(item: Any, size: int) -> slice:
    if isinstance(item, slice):
        return item
    if isinstance(item, (int, np.integer)) and not isinstance(item, bool):
        if not -size <= item < size:
            raise ElementIndexError(f"index {item} is out of range for {size} pixels")
        return slice(int(item), None, max(size, 1))  # keeps the dimension
    raise FieldTypeError(f"maps are cropped by slices or integers, got {type(item).__name__}")
