from __future__ import annotations

from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn

from drivetrain.model import (
    BaseDataPreprocessor,
    BatchError,
    ImgDataPreprocessor,
    ModelArgumentError,
    ModelTypeError,
    merge_dict,
    stack_batch,
)

Pair = namedtuple("Pair", "image label")  # what a loader's collation returns


class Element:
    """Stands for a data element: not a tensor, but it can move."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def to(self, device, non_blocking=False):
        return Element(str(device))


def test_tensors_in_nested_containers_move_and_containers_keep_their_type() -> None:
    preprocessor = BaseDataPreprocessor()
    preprocessor._device = torch.device("meta")  # any second device
    element = Element()
    data = {
        "pair": Pair(torch.ones(1), "name"),
        "ordered": OrderedDict(a=[torch.ones(2), None, 3]),
        "tuple": (torch.ones(3), b"raw"),
        "element": [element],
    }
    moved = preprocessor(data)
    assert type(moved["pair"]) is Pair
    assert type(moved["ordered"]) is OrderedDict
    tensors = [moved["pair"].image, moved["ordered"]["a"][0], moved["tuple"][0]]
    assert [tensor.device.type for tensor in tensors] == ["meta"] * 3
    assert moved["ordered"]["a"][1:] == [None, 3]
    assert moved["tuple"][1] == b"raw"
    assert moved["element"][0].device == "meta"
    assert data["element"][0].device == "cpu"


def test_what_is_in_place_is_not_copied() -> None:
    tensor = torch.ones(2)
    assert BaseDataPreprocessor()([tensor])[0] is tensor


class Fields(Element):
    """An element whose fields can be looked at."""

    def __init__(self, *fields, device: str = "cpu") -> None:
        super().__init__(device)
        self.fields = fields

    def values(self):
        return list(self.fields)


def test_an_element_whose_tensors_are_in_place_is_not_copied() -> None:
    preprocessor = BaseDataPreprocessor()
    inner = Fields(torch.ones(1))
    element = Fields(torch.ones(1), "name", inner)
    assert preprocessor([element])[0] is element
    far = Fields(torch.ones(1), Fields(torch.ones(1, device="meta")))
    assert preprocessor([far])[0] is not far


def test_it_follows_the_model_that_it_is_part_of() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.data_preprocessor = BaseDataPreprocessor()

    model = Model()
    model.half()
    data = model.data_preprocessor([torch.ones(1), torch.ones(1, dtype=torch.long)])
    assert [item.dtype for item in data] == [torch.float16, torch.long]
    model.to(torch.float32)
    assert model.data_preprocessor(torch.ones(1)).dtype == torch.float32
    model.to("cpu")
    assert model.data_preprocessor.device == torch.device("cpu")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_batches_go_where_the_model_is() -> None:
    model = nn.Sequential(BaseDataPreprocessor(non_blocking=True), nn.Linear(1, 1)).cuda()
    assert model[0](torch.ones(1).pin_memory()).device.type == "cuda"
    assert model.cpu()[0](torch.ones(1, device="cuda")).device.type == "cpu"


def test_images_are_normalized_padded_and_stacked() -> None:
    preprocessor = ImgDataPreprocessor(
        mean=[1.0, 2.0, 3.0], std=[2.0, 2.0, 2.0], pad_size_divisor=4, pad_value=9
    )
    images = [
        torch.full((3, 2, 5), 5, dtype=torch.uint8),
        torch.full((3, 4, 3), 5, dtype=torch.uint8),
    ]
    out = preprocessor({"inputs": images})
    assert out["inputs"].shape == (2, 3, 4, 8)
    assert out["inputs"][0, :, 0, 0].tolist() == [2.0, 1.5, 1.0]
    assert out["inputs"][0, 0, 2, 0] == 9
    assert out["data_samples"] is None


def test_a_stacked_batch_gives_the_same_as_a_list() -> None:
    preprocessor = ImgDataPreprocessor(
        mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], pad_size_divisor=4, bgr_to_rgb=True
    )
    batch = torch.randint(0, 255, (2, 3, 5, 6), dtype=torch.uint8)
    listed = preprocessor({"inputs": list(batch), "data_samples": ["a", "b"]})
    stacked = preprocessor({"inputs": batch, "data_samples": ["a", "b"]})
    assert torch.equal(listed["inputs"], stacked["inputs"])
    assert stacked["data_samples"] == ["a", "b"]


@pytest.mark.parametrize("option", ["bgr_to_rgb", "rgb_to_bgr"])
def test_the_order_of_channels_is_reversed(option) -> None:
    image = torch.arange(3.0).view(3, 1, 1)
    out = ImgDataPreprocessor(**{option: True})({"inputs": [image]})
    assert out["inputs"].flatten().tolist() == [2.0, 1.0, 0.0]


def test_one_mean_serves_any_number_of_channels() -> None:
    out = ImgDataPreprocessor(mean=[1.0], std=[2.0])({"inputs": torch.full((1, 5, 2, 2), 3.0)})
    assert torch.equal(out["inputs"], torch.ones(1, 5, 2, 2))


def test_mean_and_std_are_not_in_the_checkpoint() -> None:
    assert ImgDataPreprocessor(mean=[1.0], std=[2.0]).state_dict() == {}


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        ([torch.ones(3, 2, 2)], "a dict with 'inputs', got list"),
        ({"input": torch.ones(1, 3, 2, 2)}, "Did you mean 'input'|got input"),
        ({"inputs": torch.ones(3, 2, 2)}, r"shape \(N, C, H, W\), got \(3, 2, 2\)"),
        ({"inputs": [torch.ones(2, 2)]}, r"shape \(C, H, W\), got \(2, 2\)"),
        ({"inputs": [torch.ones(4, 2, 2)]}, "images with 3 channels, got 4"),
        ({"inputs": "x.png"}, "a tensor .* or a list of tensors .*, got str"),
    ],
)
def test_a_batch_of_another_form_is_refused(batch, text) -> None:
    with pytest.raises(BatchError, match=text):
        ImgDataPreprocessor(mean=[0.0] * 3, std=[1.0] * 3)(batch)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"mean": [1.0]}, "both mean and std, or neither"),
        ({"mean": [1.0, 2.0], "std": [1.0, 2.0]}, "mean must have 1 or 3 values, got 2"),
        ({"bgr_to_rgb": True, "rgb_to_bgr": True}, "exclude each other"),
    ],
)
def test_arguments_that_contradict_are_refused(arguments, text) -> None:
    with pytest.raises(ModelArgumentError, match=text):
        ImgDataPreprocessor(**arguments)


def test_padding_is_right_and_bottom_and_spares_channels() -> None:
    batch = stack_batch([torch.ones(3, 2, 3), torch.ones(3, 4, 1)], pad_size_divisor=1, pad_value=7)
    assert batch.shape == (2, 3, 4, 3)
    assert batch[0, 0].tolist() == [[1, 1, 1], [1, 1, 1], [7, 7, 7], [7, 7, 7]]
    assert batch[1, 0].tolist() == [[1, 7, 7]] * 4


def test_equal_sizes_are_only_stacked() -> None:
    images = [torch.rand(3, 4, 4) for _ in range(2)]
    assert torch.equal(stack_batch(images), torch.stack(images))
    assert stack_batch(images, pad_size_divisor=3).shape == (2, 3, 6, 6)


@pytest.mark.parametrize(
    ("tensors", "error", "text"),
    [
        (torch.ones(1), ModelTypeError, "needs a list, got Tensor"),
        ([], BatchError, "is empty"),
        ([torch.ones(1, 2), torch.ones(1, 2, 3)], BatchError, "one number of dimensions"),
        ([torch.ones(1, 2, 2), torch.ones(3, 2, 2)], BatchError, "same first size"),
    ],
)
def test_tensors_that_make_no_batch_are_refused(tensors, error, text) -> None:
    with pytest.raises(error, match=text):
        stack_batch(tensors)


def test_merging_dicts_survives_tracing() -> None:
    class Merging(nn.Module):
        def forward(self, x):
            return merge_dict({"a": x}, {"b": x + 1}, {"a": x + 2})

    out = torch.fx.symbolic_trace(Merging())(torch.zeros(1))
    assert {name: float(value) for name, value in out.items()} == {"a": 2.0, "b": 1.0}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mean": [1.0] * 3, "std": [1.0, 0.0, 1.0]}, "std, so it must be positive"),
        ({"pad_size_divisor": -1}, "pad_size_divisor must be >= 1, got -1"),
    ],
)
def test_a_division_that_cannot_be_is_refused_at_construction(settings, text) -> None:
    with pytest.raises(ModelArgumentError, match=text):
        ImgDataPreprocessor(**settings)
