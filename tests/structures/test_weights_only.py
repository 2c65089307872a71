"""Elements come back through the loading that restores data alone."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drivetrain.structures import BaseDataElement, InstanceData, LabelData, PixelData

USERS_MODULE = """
import torch
from drivetrain.structures import BaseDataElement, InstanceData

class Prediction(BaseDataElement):
    @property
    def found(self):
        return self._found

    @found.setter
    def found(self, value):
        self.set_field(value, "_found", dtype=InstanceData)

    @found.deleter
    def found(self):
        del self._found
"""
READER = """
import sys
import torch
import users_elements

sample = torch.load(sys.argv[1], weights_only=True)
print(type(sample).__name__, sample.metainfo, sample.keys())
print(type(sample.found).__name__, sample.found.scores.tolist(), sample.found.names)
print(sample.found.boxes.dtype, sample.found.boxes.tolist(), len(sample.found[:1]))
print(sample.pixels.shape, sample.label.kind.tolist(), sample.found.img_shape)
sample.found = sample.found[sample.found.scores > 0.5]
print(len(sample.found))
try:
    sample.found = 1
except TypeError as err:
    print(err)
"""


def round_trip(value: Any) -> Any:
    stream = io.BytesIO()
    torch.save(value, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


def test_a_fresh_process_restores_nested_elements_of_a_users_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_elements.py").write_text(USERS_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    users_elements = importlib.import_module("users_elements")
    found = InstanceData(
        metainfo={"img_shape": (4, 6)},
        scores=torch.tensor([0.75, 0.25]),
        names=["cat", "dog"],
        boxes=np.array([[1, 2], [3, 4]], dtype=np.int16),
    )
    sample = users_elements.Prediction(metainfo={"file": "a.png", "scale": np.float64(0.5)})
    sample.found = found
    sample.pixels = PixelData(seg=torch.zeros(1, 4, 6))
    sample.label = LabelData(kind=torch.tensor([2]))
    torch.save(sample, tmp_path / "sample.pt")

    # A process of its own: what this one has listed as safe must not help.
    reader = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path / "sample.pt")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert reader.stdout.splitlines() == [
        f"Prediction {sample.metainfo} ['found', 'pixels', 'label']",
        "InstanceData [0.75, 0.25] ['cat', 'dog']",
        "int16 [[1, 2], [3, 4]] 1",
        "(4, 6) [2] (4, 6)",
        "1",
        "Prediction.found takes InstanceData, got int",
    ], reader.stderr
    monkeypatch.delitem(sys.modules, "users_elements")


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "f2", "f4", "f8", "c16", "<U3", "S2"])
def test_arrays_of_plain_values_come_back_with_type_and_order(dtype: str) -> None:
    array = np.array([[1, 0], [0, 1]]).astype(dtype)

    for value in (array, array.T, np.asfortranarray(array), array[:0], array[::-1]):
        back = round_trip(BaseDataElement(masks=value)).masks
        assert back.dtype == value.dtype
        np.testing.assert_array_equal(back, value)


def test_a_tensor_keeps_what_it_shares_with_another() -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    back = round_trip(BaseDataElement(whole=weight, part=weight[0]))

    back.whole[0, 0] = 9
    assert back.part[0] == 9


class Runs:
    """Its pickle would call a function."""

    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    "value", [Runs(), np.array([Runs()], dtype=object)], ids=["an object", "an array of objects"]
)
def test_what_would_run_code_is_refused_inside_an_element(value: Any) -> None:
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        round_trip(BaseDataElement(value=value))
