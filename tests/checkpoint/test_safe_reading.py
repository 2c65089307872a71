"""Nothing but data comes out of a file, unless the caller says otherwise."""

from __future__ import annotations

import os
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain.checkpoint import (
    CheckpointDeviceError,
    NotPlainDataError,
    UnsafeCheckpointError,
    _load_checkpoint,
    export_safetensors,
    load_checkpoint,
    load_safetensors,
    read_checkpoint_file,
)


class Payload:
    """Leaves a mark when a file that holds it is loaded carelessly."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.mkdir, (self.mark,))


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
def test_a_file_that_would_run_code_is_refused_without_effect(
    tmp_path: Path, new_format: bool
) -> None:
    mark = tmp_path / "ran"
    torch.save(
        {"state_dict": {}, "x": Payload(str(mark))},
        tmp_path / "a.pth",
        _use_new_zipfile_serialization=new_format,
    )

    with pytest.raises(UnsafeCheckpointError, match=r"Refused: .*mkdir") as caught:
        _load_checkpoint(str(tmp_path / "a.pth"))

    assert not mark.exists()
    assert caught.value.refused == ("posix.mkdir",) or os.name == "nt"
    assert "weights_only=False" in str(caught.value)


def test_only_the_callers_own_word_loads_it(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "path": Path("x")}, tmp_path / "a.pth")

    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(nn.Identity(), str(tmp_path / "a.pth"))

    loaded = load_checkpoint(nn.Identity(), str(tmp_path / "a.pth"), weights_only=False)
    assert loaded["path"] == Path("x")


def test_a_missing_device_is_named_with_its_remedy(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("the device is there")
    tensor = torch.ones(1)
    torch.save({"w": tensor}, tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    # A tensor saved from a GPU differs in one word of the pickle; stored length stays the same.
    moved = content.replace(b"X\x03\x00\x00\x00cpu", b"X\x03\x00\x00\x00mps")
    assert moved != content
    (tmp_path / "a.pth").write_bytes(moved)

    if torch.backends.mps.is_available():
        pytest.skip("the device is there")
    with pytest.raises(CheckpointDeviceError, match="map_location='cpu'"):
        read_checkpoint_file(tmp_path / "a.pth")
    assert read_checkpoint_file(tmp_path / "a.pth", "cpu")["w"].item() == 1


# Checkpoints of the reference engine


def reference_engine_history(numpy: Any) -> Any:
    """Make an object as the reference engine pickles it, without that engine."""
    module = ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self) -> None:
            self._max_length = 1000
            self._log_history = numpy.array([3.0, 2.0])
            self._count_history = numpy.array([1, 2])
            self._statistics_methods = OrderedDict(min=HistoryBuffer.min)

        def min(self) -> None:
            """Only referred to."""

    HistoryBuffer.__module__ = module.__name__
    HistoryBuffer.__qualname__ = "HistoryBuffer"
    HistoryBuffer.min.__module__ = module.__name__
    HistoryBuffer.min.__qualname__ = "HistoryBuffer.min"
    module.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    return module


@pytest.fixture
def legacy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    numpy = pytest.importorskip("numpy")
    module = reference_engine_history(numpy)
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    checkpoint = {
        "meta": {"epoch": 1, "palette": numpy.array([[1, 2], [3, 4]], order="F", dtype="u1")},
        "state_dict": nn.Linear(2, 2).state_dict(),
        "message_hub": {
            "log_scalars": OrderedDict(loss=module.HistoryBuffer()),
            "runtime_info": OrderedDict(best=numpy.float64(0.25), on=numpy.bool_(True)),
            "resumed_keys": OrderedDict(loss=True, best=True, on=True),
        },
    }
    torch.save(checkpoint, tmp_path / "epoch_1.pth")
    monkeypatch.undo()
    return tmp_path / "epoch_1.pth"


def test_the_history_of_the_reference_engine_becomes_plain_data(legacy_file: Path) -> None:
    checkpoint = read_checkpoint_file(legacy_file)

    loss = checkpoint["message_hub"]["log_scalars"]["loss"]
    assert loss["values"].tolist() == [3.0, 2.0]
    assert loss["counts"].tolist() == [1.0, 2.0]
    assert dict(checkpoint["message_hub"]["runtime_info"]) == {"best": 0.25, "on": True}
    assert checkpoint["meta"]["palette"].tolist() == [[1, 2], [3, 4]]
    assert "mmengine" not in sys.modules
    load_checkpoint(nn.Linear(2, 2), str(legacy_file), strict=True)


def test_what_the_process_allows_besides_does_not_get_into_that(legacy_file: Path) -> None:
    numpy = pytest.importorskip("numpy")
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([numpy.dtype, numpy.ndarray])
    try:
        checkpoint = read_checkpoint_file(legacy_file)
        assert numpy.dtype in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)

    assert checkpoint["message_hub"]["log_scalars"]["loss"]["values"].tolist() == [3.0, 2.0]


def test_our_message_hub_takes_that_history(legacy_file: Path) -> None:
    from drivetrain.logging import MessageHub

    hub = MessageHub.get_instance("from the reference engine")
    hub.load_state_dict(read_checkpoint_file(legacy_file)["message_hub"])

    assert hub.get_scalar("loss").mean() == pytest.approx((3 + 2) / (1 + 2))
    assert hub.get_info("best") == 0.25


def test_one_foreign_object_more_and_the_file_is_refused(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    torch.save({"a": numpy.ones(1), "path": Path("x")}, tmp_path / "a.pth")

    with pytest.raises(UnsafeCheckpointError, match="pathlib"):
        read_checkpoint_file(tmp_path / "a.pth")


class StolenGetattr:
    """Tries to reach something through the one function that histories need."""

    def __reduce__(self) -> Any:
        return (getattr, ("text", "upper"))


def test_getattr_reaches_nothing_but_a_history(tmp_path: Path) -> None:
    torch.save({"x": StolenGetattr()}, tmp_path / "a.pth")

    with pytest.raises(UnsafeCheckpointError, match=r"builtins\.getattr"):
        read_checkpoint_file(tmp_path / "a.pth")


# safetensors


def test_weights_go_to_safetensors_and_back(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors")
    tied = torch.arange(6.0).reshape(2, 3)
    path = tmp_path / "a.safetensors"

    export_safetensors({"a": tied, "b": tied, "t": tied.T}, path, {"epoch": 3, "by": "test"})

    loaded = _load_checkpoint(str(path), "cpu")
    assert torch.equal(loaded["t"], tied.T)
    assert list(load_safetensors(str(path))) == ["a", "b", "t"]
    with library.safe_open(path, "pt") as file:
        assert file.metadata() == {"epoch": "3", "by": "test"}


def test_safetensors_hold_tensors_only(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")

    with pytest.raises(NotPlainDataError, match=r"these are none: \['epoch'\]"):
        export_safetensors({"epoch": 3}, tmp_path / "a.safetensors")  # type: ignore[dict-item]

    assert list(tmp_path.iterdir()) == []
