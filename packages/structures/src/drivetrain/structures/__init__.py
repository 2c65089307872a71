"""Containers for annotations and predictions: one element, instances, pixels, labels."""

from drivetrain.structures.__about__ import __version__
from drivetrain.structures._base_data_element import BaseDataElement
from drivetrain.structures._errors import (
    ElementIndexError,
    FieldNameError,
    FieldShapeError,
    FieldTypeError,
    StructuresError,
)
from drivetrain.structures._instance_data import InstanceData
from drivetrain.structures._label_data import LabelData
from drivetrain.structures._pixel_data import PixelData

__all__ = [
    "BaseDataElement",
    "ElementIndexError",
    "FieldNameError",
    "FieldShapeError",
    "FieldTypeError",
    "InstanceData",
    "LabelData",
    "PixelData",
    "StructuresError",
    "__version__",
]
