"""Fields, their two groups, and new elements."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from drivetrain.structures import (
    BaseDataElement,
    FieldNameError,
    FieldTypeError,
    InstanceData,
    LabelData,
    PixelData,
)


class Sample(BaseDataElement):
    @property
    def boxes(self) -> BaseDataElement:
        return self._boxes

    @boxes.setter
    def boxes(self, value: BaseDataElement) -> None:
        self.set_field(value, "_boxes", dtype=BaseDataElement)

    @boxes.deleter
    def boxes(self) -> None:
        del self._boxes


def element() -> BaseDataElement:
    return BaseDataElement(
        metainfo={"img_shape": (4, 6), "name": "a.png"},
        scores=torch.tensor([0.5, 0.25], requires_grad=True),
        masks=np.ones((2, 2)),
        inner=BaseDataElement(x=torch.ones(1)),
        note="text",
    )


def test_fields_are_found_in_their_group_and_in_order() -> None:
    e = element()

    assert e.keys() == ["scores", "masks", "inner", "note"]
    assert e.metainfo_keys() == ["img_shape", "name"]
    assert e.all_keys() == [*e.metainfo_keys(), *e.keys()]
    assert "scores" in e
    assert "img_shape" in e
    assert "other" not in e
    assert dict(e.metainfo_items()) == e.metainfo == {"img_shape": (4, 6), "name": "a.png"}
    assert e.metainfo_values() == [(4, 6), "a.png"]
    assert [name for name, _ in e.all_items()] == e.all_keys()
    assert len(e.values()) == 4
    assert len(e.all_values()) == 6


def test_metainfo_is_copied_and_data_is_not() -> None:
    shape, scores = [4, 6], torch.ones(1)
    e = BaseDataElement(metainfo={"shape": shape}, scores=scores)

    shape.append(3)

    assert e.shape == [4, 6]
    assert e.scores is scores


def test_assignment_changes_a_field_in_its_group() -> None:
    e = element()

    e.img_shape = (8, 8)
    e.scores = torch.ones(3)
    e.new_one = 1

    assert e.metainfo["img_shape"] == (8, 8)
    assert len(e.scores) == 3
    assert e.keys()[-1] == "new_one"


def test_deletion_and_pop_remove_a_field() -> None:
    e = element()

    del e.img_shape
    assert e.pop("note") == "text"

    assert "img_shape" not in e
    assert "note" not in e
    assert e.get("img_shape", "gone") == "gone"
    assert e.pop("note", None) is None
    with pytest.raises(KeyError, match="no field 'note'"):
        e.pop("note")
    with pytest.raises(TypeError, match="pop takes a name"):
        e.pop()
    with pytest.raises(AttributeError):
        e.note


@pytest.mark.parametrize(
    ("act", "error", "text"),
    [
        (lambda e: e.set_data({"img_shape": 1}), FieldNameError, "it is meta information already"),
        (lambda e: e.set_metainfo({"scores": 1}), FieldNameError, "it is data already"),
        (lambda e: e.set_data([1]), FieldTypeError, "data must be a dict, got list"),
        (lambda e: e.set_metainfo("x"), FieldTypeError, "metainfo must be a dict, got str"),
        (lambda e: e.update({}), FieldTypeError, "takes a BaseDataElement, got dict"),
        (lambda e: e.set_field(1, "a", dtype=str), FieldTypeError, "takes str, got int"),
        (lambda e: e.set_field(1, "a", field_type="x"), ValueError, "'metainfo' or 'data'"),
        (lambda e: setattr(e, "_data_fields", set()), FieldNameError, "is reserved"),
        (lambda e: delattr(e, "_metainfo_fields"), FieldNameError, "is reserved"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_named_and_changes_nothing(act: Any, error: type, text: str) -> None:
    e = element()
    before = e.all_keys()

    with pytest.raises(error, match=text):
        act(e)

    assert e.all_keys() == before


def test_a_property_is_a_typed_field() -> None:
    sample, boxes = Sample(), BaseDataElement(x=torch.ones(2))

    sample.boxes = boxes

    assert sample.keys() == ["boxes"]
    assert sample.boxes is boxes
    assert "boxes" in sample
    assert sample.new().boxes is boxes
    del sample.boxes
    assert "boxes" not in sample
    assert sample.keys() == []


def test_a_property_refuses_another_type_as_code_for_the_reference_engine_expects() -> None:
    sample = Sample()

    with pytest.raises(AssertionError, match=r"Sample\.boxes takes BaseDataElement, got Tensor"):
        sample.boxes = torch.ones(1)

    assert "boxes" not in sample


def test_new_keeps_or_replaces_each_group() -> None:
    e = element()

    assert e.new().all_keys() == e.all_keys()
    assert e.new(metainfo={"a": 1}).metainfo == {"a": 1}
    assert e.new(x=1).keys() == ["x"]
    assert type(Sample().new()) is Sample


def test_clone_is_deep_and_stays_in_the_graph() -> None:
    e = element()

    c = e.clone()
    c.inner.x.zero_()
    c.masks[:] = 0

    assert e.inner.x.item() == 1
    assert e.masks.all()
    assert c.scores.grad_fn is not None


def test_update_takes_over_all_fields() -> None:
    e = BaseDataElement(metainfo={"a": 1}, x=1)

    e.update(BaseDataElement(metainfo={"b": 2}, x=2))

    assert e.to_dict() == {"a": 1, "b": 2, "x": 2}


def test_tensor_methods_reach_inner_elements_and_leave_the_rest() -> None:
    e = element()

    half = e.to(torch.float16)
    assert half.scores.dtype is half.inner.x.dtype is torch.float16
    assert half.note == "text"
    assert half.metainfo == e.metainfo
    assert not e.detach().scores.requires_grad
    assert e.cpu().scores.device.type == "cpu"
    arrays = e.numpy()
    assert isinstance(arrays.scores, np.ndarray)
    assert isinstance(arrays.inner.x, np.ndarray)
    tensors = arrays.to_tensor()
    assert isinstance(tensors.masks, torch.Tensor)
    assert isinstance(tensors.inner.x, torch.Tensor)


def test_a_dict_has_no_elements_inside() -> None:
    assert element().to_dict()["inner"] == {"x": torch.ones(1)}


def test_the_text_shows_both_groups_and_nested_elements() -> None:
    sample = BaseDataElement(
        metainfo={"img_shape": (4, 6)}, inner=BaseDataElement(labels=torch.tensor([0, 1]))
    )

    lines = [line.split(" at 0x")[0] for line in repr(sample).split("\n")]

    assert lines == [
        "<BaseDataElement(",
        "",
        "    META INFORMATION",
        "    img_shape: (4, 6)",
        "",
        "    DATA FIELDS",
        "    inner: <BaseDataElement(",
        "",
        "            META INFORMATION",
        "",
        "            DATA FIELDS",
        "            labels: tensor([0, 1])",
        "        )",
        ")",
    ]


ELEMENTS = [
    Sample(metainfo={"a": 1}, boxes=BaseDataElement(x=torch.ones(2))),
    InstanceData(metainfo={"a": 1}, scores=torch.ones(2), names=["a", "b"]),
    PixelData(metainfo={"a": 1}, seg=torch.ones(1, 2, 3)),
    LabelData(metainfo={"a": 1}, label=torch.tensor([1])),
]


def safe_round_trip(value: Any) -> Any:
    stream = io.BytesIO()
    torch.save(value, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


@pytest.mark.parametrize("value", ELEMENTS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    "round_trip",
    [lambda value: pickle.loads(pickle.dumps(value)), copy.deepcopy, copy.copy, safe_round_trip],
    ids=["pickle", "deepcopy", "copy", "weights_only"],
)
def test_a_round_trip_keeps_type_fields_and_groups(round_trip: Any, value: Any) -> None:
    back = round_trip(value)

    assert type(back) is type(value)
    assert back.metainfo == value.metainfo
    assert back.keys() == value.keys()
    assert str(back.to_dict()) == str(value.to_dict())
