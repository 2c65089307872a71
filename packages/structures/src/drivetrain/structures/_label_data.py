"""Labels of one sample."""

from __future__ import annotations

import torch

from drivetrain.structures._base_data_element import BaseDataElement
from drivetrain.structures._errors import FieldShapeError, FieldTypeError


class LabelData(BaseDataElement):
    """Labels of one sample, as class indices or as a vector of zeros and ones.

    Example:
        >>> LabelData.label_to_onehot(torch.tensor([0, 2]), num_classes=4)
        tensor([1, 0, 1, 0])
        >>> LabelData.onehot_to_label(torch.tensor([1, 0, 1, 0]))
        tensor([0, 2])
    """

    @staticmethod
    def onehot_to_label(onehot: torch.Tensor) -> torch.Tensor:
        """Return the indices of the classes that are set.

        Args:
            onehot: ``(num_classes,)``, zeros and ones.

        Returns:
            ``(N,)`` int64, ascending.

        Raises:
            FieldTypeError: If it is no tensor.
            FieldShapeError: If it has another shape or other values.
        """
        _require_tensor(onehot, "onehot")
        if onehot.ndim != 1 or bool(((onehot != 0) & (onehot != 1)).any()):
            raise FieldShapeError(
                f"onehot must be one row of zeros and ones, got shape {tuple(onehot.shape)}"
            )
        return onehot.nonzero().flatten()

    @staticmethod
    def label_to_onehot(label: torch.Tensor, num_classes: int) -> torch.Tensor:
        """Return a row of zeros with ones at the given classes.

        Args:
            label: ``(N,)`` or a single index, integers from 0 to ``num_classes - 1``.
            num_classes: Length of the row.

        Returns:
            ``(num_classes,)``, of the type and on the device of ``label``.

        Raises:
            FieldTypeError: If ``label`` is no tensor of integers.
            FieldShapeError: If an index is out of range, or there is no class.
        """
        _require_tensor(label, "label")
        if label.is_floating_point() or label.dtype == torch.bool:
            raise FieldTypeError(f"label must hold integers, got {label.dtype}")
        if num_classes < 1:
            raise FieldShapeError(f"num_classes must be at least 1, got {num_classes}")
        if label.numel() and not (int(label.min()) >= 0 and int(label.max()) < num_classes):
            raise FieldShapeError(
                f"labels must lie from 0 to {num_classes - 1}, got {label.tolist()}"
            )
        onehot = label.new_zeros((num_classes,))
        onehot[label.long()] = 1
        return onehot


def _require_tensor(value: object, name: str) -> None:
    if not isinstance(value, torch.Tensor):
        raise FieldTypeError(f"{name} must be a tensor, got {type(value).__name__}")
