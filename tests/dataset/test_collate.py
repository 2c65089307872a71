"""Collation: what becomes of each structure, and what is said when samples do not fit."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest
import torch

from drivetrain.dataset import (
    COLLATE_FUNCTIONS,
    CollateError,
    default_collate,
    num_samples,
    pseudo_collate,
)

Pair = namedtuple("Pair", ["x", "y"])


class Element:
    """Shaped like a data element, as far as collation can tell."""

    def metainfo_items(self):
        return []


def test_pseudo_collate_leaves_tensors_unstacked():
    a, b = torch.zeros(2), torch.ones(3)
    batch = pseudo_collate([{"x": a}, {"x": b}])
    assert batch["x"][0] is a
    assert batch["x"][1] is b


def test_pseudo_collate_leaves_strings_as_a_list():
    assert pseudo_collate(["a", "b"]) == ["a", "b"]


def test_pseudo_collate_transposes_tuples_into_a_list_of_fields():
    first, second = pseudo_collate([(1, "a"), (2, "b")])
    assert list(first) == [1, 2]
    assert list(second) == ["a", "b"]


def test_pseudo_collate_keeps_named_tuples():
    batch = pseudo_collate([Pair(1, 2), Pair(3, 4)])
    assert isinstance(batch, Pair)
    assert list(batch.y) == [2, 4]


def test_pseudo_collate_goes_through_nested_mappings():
    batch = pseudo_collate([{"a": {"b": [1, 2]}}, {"a": {"b": [3, 4]}}])
    assert [list(column) for column in batch["a"]["b"]] == [[1, 3], [2, 4]]


def test_default_collate_stacks_tensors_arrays_and_numbers():
    batch = default_collate(
        [{"t": torch.zeros(3), "n": np.ones(2), "i": 1, "f": 0.5, "s": "x"}] * 2
    )
    assert batch["t"].shape == (2, 3)
    assert batch["n"].shape == (2, 2)
    assert batch["i"].tolist() == [1, 1]
    assert batch["f"].dtype == torch.float64
    assert batch["s"] == ["x", "x"]


def test_default_collate_keeps_data_elements_as_a_list():
    elements = [Element(), Element()]
    assert default_collate([{"data_samples": e} for e in elements])["data_samples"] == elements


@pytest.mark.parametrize("collate", [pseudo_collate, default_collate])
def test_sequences_of_different_length_are_refused_with_their_lengths(collate):
    with pytest.raises(CollateError, match=r"equal size.*\[1, 2\]"):
        collate([[1, 2], [3]])


@pytest.mark.parametrize("collate", [pseudo_collate, default_collate])
def test_a_field_missing_in_some_samples_is_named(collate):
    with pytest.raises(CollateError, match="'y' is in the first sample and missing in 1 of the 2"):
        collate([{"x": 1, "y": 2}, {"x": 1}])


def test_tensors_of_different_shape_are_refused_with_field_and_shapes():
    with pytest.raises(CollateError, match=r"field 'img'.*\(1, 2\), \(1, 3\).*pseudo_collate"):
        default_collate([{"img": torch.zeros(1, 2)}, {"img": torch.zeros(1, 3)}])


def test_collate_errors_are_runtime_errors_too():
    with pytest.raises(RuntimeError):
        pseudo_collate([[1, 2], [3]])


def test_collate_functions_are_found_by_name():
    assert COLLATE_FUNCTIONS.get("pseudo_collate") is pseudo_collate
    assert COLLATE_FUNCTIONS.get("default_collate") is default_collate


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (torch.zeros(4, 3), 4),
        ({"inputs": [1, 2, 3], "data_samples": [1, 2, 3]}, 3),
        ({"inputs": torch.zeros(5, 2)}, 5),
        ([torch.zeros(6, 3, 8, 8), torch.zeros(6)], 6),
        ([torch.zeros(6, 1), torch.zeros(6, 1)], 6),
        ([torch.zeros(3, 8, 8)] * 5, 5),
        ([(1, 2, 3), ("a", "b", "c")], 3),
        (["a", "b"], 2),
        ([], 0),
        ({}, 0),
        (None, 1),
    ],
    ids=[
        "tensor",
        "lists",
        "stacked",
        "fields",
        "equal-fields",
        "images",
        "tuples",
        "strings",
        "empty-list",
        "empty-dict",
        "unknown",
    ],
)
def test_num_samples_counts_what_a_batch_holds(batch, expected):
    assert num_samples(batch) == expected


def test_real_data_elements_stay_a_list():
    structures = pytest.importorskip("drivetrain.structures")
    elements = [structures.InstanceData(scores=torch.ones(n)) for n in (1, 2)]
    batch = default_collate([{"inputs": torch.zeros(2), "data_samples": e} for e in elements])
    assert batch["data_samples"] == elements
    assert batch["inputs"].shape == (2, 2)
