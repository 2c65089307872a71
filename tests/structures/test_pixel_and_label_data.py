"""Maps of one size; labels in two forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from drivetrain.structures import (
    ElementIndexError,
    FieldShapeError,
    FieldTypeError,
    LabelData,
    PixelData,
)


def maps() -> PixelData:
    return PixelData(
        metainfo={"id": 1}, image=np.zeros((4, 20, 40)), features=torch.zeros(10, 20, 40)
    )


def test_maps_have_one_height_and_width() -> None:
    assert maps().shape == (20, 40)
    assert PixelData().shape is None


def test_a_map_without_channels_gets_one() -> None:
    data = maps()

    data.edges = torch.zeros(20, 40)

    assert data.edges.shape == (1, 20, 40)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (torch.zeros(1, 3, 20, 40), FieldShapeError, r"takes \(H, W\) or \(C, H, W\)"),
        (torch.zeros(20, 41), FieldShapeError, r"\(20, 41\), but the others have \(20, 40\)"),
        ([1], FieldTypeError, "takes a tensor or an array, got list"),
    ],
    ids=["4 dimensions", "other size", "list"],
)
def test_a_value_that_is_no_such_map_is_refused(value: Any, error: type, text: str) -> None:
    data = maps()

    with pytest.raises(error, match=text):
        data.other = value
    with pytest.raises(AssertionError):
        data.other = value

    assert "other" not in data


@pytest.mark.parametrize(
    ("item", "shape"),
    [
        ((slice(10, 20), slice(20, 40)), (10, 20)),
        ((10, 20), (1, 1)),
        ((-1, slice(None)), (1, 40)),
        ((np.int64(3), slice(0, 2)), (1, 2)),
    ],
    ids=str,
)
def test_cropping_crops_all_maps(item: Any, shape: tuple[int, int]) -> None:
    crop = maps()[item]

    assert crop.shape == shape
    assert crop.image.shape == (4, *shape)
    assert crop.features.shape == (10, *shape)
    assert crop.metainfo == {"id": 1}


@pytest.mark.parametrize(
    ("item", "error"),
    [(3, FieldTypeError), ((1, "a"), FieldTypeError), ((20, 0), ElementIndexError)],
    ids=str,
)
def test_a_crop_that_makes_no_sense_is_refused(item: Any, error: type) -> None:
    with pytest.raises(error):
        maps()[item]


def test_labels_go_to_a_row_and_back() -> None:
    row = LabelData.label_to_onehot(torch.tensor([0, 2]), 4)

    assert row.tolist() == [1, 0, 1, 0]
    assert LabelData.onehot_to_label(row).tolist() == [0, 2]
    assert LabelData.onehot_to_label(torch.tensor([0, 1])).tolist() == [1]
    assert LabelData.label_to_onehot(torch.tensor([], dtype=torch.long), 2).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("convert", "error", "text"),
    [
        (lambda: LabelData.label_to_onehot(torch.tensor([4]), 4), FieldShapeError, "from 0 to 3"),
        (lambda: LabelData.label_to_onehot(torch.tensor([-1]), 4), FieldShapeError, "from 0 to 3"),
        (lambda: LabelData.label_to_onehot(torch.ones(1), 4), FieldTypeError, "integers"),
        (lambda: LabelData.label_to_onehot([1], 4), FieldTypeError, "must be a tensor, got list"),
        (lambda: LabelData.onehot_to_label(torch.tensor([2])), FieldShapeError, "zeros and ones"),
        (lambda: LabelData.onehot_to_label(torch.ones(1, 1)), FieldShapeError, "one row"),
        (lambda: LabelData.onehot_to_label([1]), FieldTypeError, "must be a tensor"),
    ],
)
def test_labels_that_make_no_sense_are_refused(convert: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        convert()


def test_labels_need_a_class() -> None:
    with pytest.raises(FieldShapeError, match="num_classes must be at least 1"):
        LabelData.label_to_onehot(torch.tensor([0]), -3)
