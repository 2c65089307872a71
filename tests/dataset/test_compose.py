"""Pipelines of transforms."""

from __future__ import annotations

import json
import pickle

import pytest

from drivetrain.dataset import Compose, DatasetArgumentError, TransformError
from drivetrain.registry import TRANSFORMS, RegistryError


@TRANSFORMS.register_module(name="TestAdd", force=True)
class Add:
    def __init__(self, number):
        self.number = number

    def __call__(self, value):
        return value + self.number


def test_transforms_apply_in_order():
    assert Compose([Add(1), lambda v: v * 10])(2) == 30


def test_nodes_are_built():
    assert Compose([{"type": "TestAdd", "number": 3}])(1) == 4


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_no_transform_leaves_data_alone(nothing):
    data = {"a": 1}
    assert Compose(nothing)(data) is data


def test_none_ends_the_pipeline():
    assert Compose([lambda v: None, Add(1)])(1) is None


def test_what_is_no_transform_is_refused():
    with pytest.raises(DatasetArgumentError, match="callable or a node, got int: 3"):
        Compose([3])


def test_a_node_that_fails_is_named_by_its_place():
    with pytest.raises(RegistryError, match=r"pipeline\.1"):
        Compose([Add(1), {"type": "TestAdd", "wrong": 3}])


def test_repr_lists_the_transforms():
    assert "str" in repr(Compose([str]))


class Fussy(Exception):
    """Cannot be made from one message."""

    def __init__(self, code, text):
        super().__init__(code, text)


def raising(error):
    def transform(data):
        raise error

    return transform


@pytest.mark.parametrize(
    "error",
    [
        ValueError("wrong"),
        KeyError("img"),
        OSError(2, "gone"),
        json.JSONDecodeError("bad", "doc", 0),
        UnicodeDecodeError("utf8", b"x", 0, 1, "bad"),
        Fussy(1, "fussy"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_error_of_a_transform_is_wrapped_and_survives_pickling(error):
    """Worker processes send errors pickled."""
    with pytest.raises(TransformError, match=r"transform 1 .* raised") as caught:
        Compose([Add(0), raising(error)])(1)
    assert caught.value.__cause__ is error
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is type(caught.value)
    assert str(again) == str(caught.value)


def test_the_wrapped_error_is_an_instance_of_the_original_type():
    with pytest.raises(KeyError) as caught:
        Compose([raising(KeyError("img"))])(1)
    assert "transform 0" in str(caught.value)
