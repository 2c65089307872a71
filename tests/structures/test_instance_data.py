"""Instances: one length, many ways to choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from drivetrain.structures import (
    ElementIndexError,
    FieldShapeError,
    FieldTypeError,
    InstanceData,
)


class Polygons:
    """A data structure of a user's own."""

    def __init__(self, points: list[int]) -> None:
        self.points = points

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, item: slice) -> Polygons:
        return Polygons(self.points[item])

    @staticmethod
    def cat(parts: list[Polygons]) -> Polygons:
        return Polygons([point for part in parts for point in part.points])


def instances() -> InstanceData:
    return InstanceData(
        metainfo={"img_shape": (4, 6)},
        ids=torch.arange(4),
        boxes=np.arange(8).reshape(4, 2),
        names=["a", "b", "c", "d"],
        pairs=("p", "q", "r", "s"),
        text="wxyz",
        polygons=Polygons([0, 1, 2, 3]),
    )


CHOICES: list[tuple[Any, list[int]]] = [
    (2, [2]),
    (-1, [3]),
    (np.int64(1), [1]),
    (slice(1, 3), [1, 2]),
    (slice(None, None, 2), [0, 2]),
    ([3, 0], [3, 0]),
    ([], []),
    ([True, False, True, False], [0, 2]),
    (np.array([1, 1]), [1, 1]),
    (np.array([False, False, False, True]), [3]),
    (torch.tensor([2, -4]), [2, 0]),
    (torch.tensor([2], dtype=torch.int32), [2]),
    (torch.tensor([False, True, False, True]), [1, 3]),
    (torch.zeros(4, dtype=torch.bool), []),
]


@pytest.mark.parametrize(("item", "expected"), CHOICES, ids=lambda value: str(value))
def test_every_field_gives_the_chosen_instances(item: Any, expected: list[int]) -> None:
    chosen = instances()[item]

    assert chosen.ids.tolist() == expected
    assert chosen.boxes[:, 0].tolist() == [2 * i for i in expected]
    assert chosen.names == ["abcd"[i] for i in expected]
    assert chosen.pairs == tuple("pqrs"[i] for i in expected)
    assert chosen.text == "".join("wxyz"[i] for i in expected)
    assert chosen.polygons.points == expected
    assert chosen.metainfo == {"img_shape": (4, 6)}
    assert len(chosen) == len(expected)


def test_a_name_gives_its_field() -> None:
    data = instances()

    data["scores"] = torch.ones(4)

    assert data["scores"] is data.scores


@pytest.mark.parametrize(
    ("item", "error", "text"),
    [
        (4, ElementIndexError, "index 4 is out of range for 4 instances"),
        (-5, ElementIndexError, "index -5 is out of range"),
        (torch.zeros(2, 2, dtype=torch.long), ElementIndexError, "the index has 2"),
        ([True, False], ElementIndexError, "2 booleans cannot choose of 4"),
        (torch.ones(2), FieldTypeError, "integers or booleans, got torch.float32"),
        ((1, 2), FieldTypeError, "got tuple"),
        (None, FieldTypeError, "got NoneType"),
    ],
    ids=str,
)
def test_an_index_that_fits_nothing_is_refused(item: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        instances()[item]


def test_all_fields_have_one_length() -> None:
    data = instances()

    with pytest.raises(FieldShapeError, match=r"scores has 3 entries, but there are 4 instances"):
        data.scores = torch.ones(3)
    with pytest.raises(AssertionError, match="int has no length"):
        data.count = 3
    with pytest.raises(FieldShapeError):
        InstanceData(a=torch.zeros(0), b=torch.ones(1))

    assert "scores" not in data
    data.img_shape = 3  # meta information has no length
    assert data.metainfo == {"img_shape": 3}


def test_a_single_field_may_change_its_length() -> None:
    data = InstanceData(scores=torch.ones(2))

    data.scores = torch.ones(5)

    assert len(data) == 5


def test_without_data_there_are_no_instances() -> None:
    assert len(InstanceData(metainfo={"a": 1})) == 0


def test_iteration_gives_one_instance_at_a_time() -> None:
    assert [one.ids.item() for one in instances()] == [0, 1, 2, 3]


def test_cat_joins_every_kind_of_field() -> None:
    joined = InstanceData.cat([instances(), instances()[:1]])

    assert joined.ids.tolist() == [0, 1, 2, 3, 0]
    assert joined.boxes.shape == (5, 2)
    assert joined.names == ["a", "b", "c", "d", "a"]
    assert joined.pairs == ("p", "q", "r", "s", "p")
    assert joined.text == "wxyzw"
    assert joined.polygons.points == [0, 1, 2, 3, 0]
    assert joined.metainfo == {"img_shape": (4, 6)}


def test_cat_of_one_is_that_one() -> None:
    data = instances()

    assert data.cat([data]) is data


@pytest.mark.parametrize(
    ("parts", "error", "text"),
    [
        ([], FieldShapeError, "at least one"),
        ([InstanceData(), 3], FieldTypeError, "got InstanceData, int"),
        (
            [InstanceData(a=[1]), InstanceData(a=[1]), InstanceData(b=[1])],
            FieldShapeError,
            "element 2 has other fields than element 0; only one of the two has a, b",
        ),
        ([InstanceData(a={1}), InstanceData(a={2})], FieldTypeError, "'a' cannot be joined: set"),
    ],
    ids=["none", "another type", "other fields", "no cat"],
)
def test_what_cannot_be_joined_is_refused(parts: list[Any], error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        InstanceData.cat(parts)


def test_a_field_that_cannot_be_indexed_by_a_list_is_named() -> None:
    with pytest.raises(FieldTypeError, match="range cannot be indexed by a list"):
        InstanceData(a=range(3))[[0, 1]]
