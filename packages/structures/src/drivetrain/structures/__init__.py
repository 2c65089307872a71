"""Containers for annotations and predictions: one element, instances, pixels, labels."""

from drivetrain.structures.__about__ import __version__
from drivetrain.structures._base_data_element import BaseDataElement
from drivetrain.structures._errors import (
    ElementIndexError,
    FieldNameError,
    FieldShapeError,
    FieldTypeError,
    SequenceLengthError,
    SequenceTypeError,
    StructuresError,
)
from drivetrain.structures._instance_data import InstanceData
from drivetrain.structures._label_data import LabelData
from drivetrain.structures._pixel_data import PixelData
from drivetrain.structures._sequences import (
    apply_to,
    concat_list,
    is_list_of,
    is_seq_of,
    is_str,
    is_tuple_of,
    iter_cast,
    list_cast,
    slice_list,
    to_1tuple,
    to_2tuple,
    to_3tuple,
    to_4tuple,
    to_ntuple,
    tuple_cast,
)

__all__ = [
    "BaseDataElement",
    "ElementIndexError",
    "FieldNameError",
    "FieldShapeError",
    "FieldTypeError",
    "InstanceData",
    "LabelData",
    "PixelData",
    "SequenceLengthError",
    "SequenceTypeError",
    "StructuresError",
    "__version__",
    "apply_to",
    "concat_list",
    "is_list_of",
    "is_seq_of",
    "is_str",
    "is_tuple_of",
    "iter_cast",
    "list_cast",
    "slice_list",
    "to_1tuple",
    "to_2tuple",
    "to_3tuple",
    "to_4tuple",
    "to_ntuple",
    "tuple_cast",
]
