"""Saving in the background."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from drivetrain.checkpoint import (
    AsyncCheckpointWriter,
    CheckpointFolder,
    CheckpointWriteError,
    NotPlainDataError,
    read_checkpoint_file,
)


class GatedFolder(CheckpointFolder):
    """A folder on a disk that is as slow as a test needs it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = threading.Event()

    def write(self, name: str, state: Any) -> str:
        assert self.gate.wait(30)
        return super().write(name, state)


def test_what_is_changed_after_the_call_is_not_saved(tmp_path: Path) -> None:
    folder = GatedFolder(tmp_path)
    weight, history = torch.ones(3), [1]
    with AsyncCheckpointWriter(folder) as writer:
        writer.save("a.pth", {"w": weight, "h": history})
        weight.zero_()
        history.append(2)
        assert writer.in_flight
        folder.gate.set()

    assert read_checkpoint_file(tmp_path / "a.pth")["w"].tolist() == [1, 1, 1]
    assert read_checkpoint_file(tmp_path / "a.pth")["h"] == [1]
    assert not writer.in_flight


def test_the_pointer_moves_and_the_callback_runs_when_the_file_is_whole(tmp_path: Path) -> None:
    folder, seen = CheckpointFolder(tmp_path), []

    with AsyncCheckpointWriter(folder) as writer:
        writer.save(
            "a.pth", {}, set_latest=True, then=lambda path: seen.append((path, folder.latest()))
        )
        assert writer.wait() == str(tmp_path / "a.pth")

    assert seen == [(str(tmp_path / "a.pth"), str(tmp_path / "a.pth"))]


def test_one_save_is_in_flight_at_a_time(tmp_path: Path) -> None:
    with AsyncCheckpointWriter(tmp_path) as writer:
        for step in range(5):
            writer.save(f"{step}.pth", {"step": step})

    assert len(CheckpointFolder(tmp_path).names()) == 5


def test_a_failed_save_raises_at_the_next_call_and_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writer = AsyncCheckpointWriter(tmp_path / "file")
    writer.save("a.pth", {})
    with pytest.raises(CheckpointWriteError):
        writer.wait()
    writer.check()

    writer.save("b.pth", {})
    with pytest.raises(CheckpointWriteError, match=r"b\.pth"):
        writer.save("c.pth", {})


def test_a_failed_callback_is_a_failed_save(tmp_path: Path) -> None:
    writer = AsyncCheckpointWriter(tmp_path)

    def fail(path: str) -> None:
        raise RuntimeError("rotation failed")

    writer.save("a.pth", {}, then=fail)

    with pytest.raises(RuntimeError, match="rotation failed"):
        writer.wait()


def test_a_state_that_cannot_be_saved_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(NotPlainDataError):
        AsyncCheckpointWriter(tmp_path).save("a.pth", {"a": object()})


def test_the_copy_is_used_again_and_keeps_what_is_shared(tmp_path: Path) -> None:
    tied = torch.ones(1 << 19)
    state = {"a": tied, "b": tied[::2], "c": torch.zeros(3, dtype=torch.bool), "e": torch.empty(0)}
    writer = AsyncCheckpointWriter(tmp_path)
    writer.save("1.pth", state)
    writer.wait()
    buffers = [buffer.data_ptr() for buffer in writer._staging._buffers]

    tied.fill_(2)
    writer.save("2.pth", state)
    writer.wait()

    assert [buffer.data_ptr() for buffer in writer._staging._buffers] == buffers
    assert len(buffers) == 1  # small tensors are copied anew
    loaded = read_checkpoint_file(tmp_path / "2.pth")
    assert bool((loaded["b"] == 2).all())
    assert loaded["a"].untyped_storage().data_ptr() == loaded["b"].untyped_storage().data_ptr()
    assert loaded["c"].dtype == torch.bool
    writer.release_memory()
    assert writer._staging._buffers == []


def test_sparse_tensors_are_copied_too(tmp_path: Path) -> None:
    sparse = torch.eye(3).to_sparse()

    with AsyncCheckpointWriter(tmp_path) as writer:
        writer.save("a.pth", {"s": sparse})

    assert torch.equal(read_checkpoint_file(tmp_path / "a.pth")["s"].to_dense(), torch.eye(3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.cuda
def test_cuda_tensors_are_copied_before_the_call_returns(tmp_path: Path) -> None:
    weight = torch.ones(1 << 20, device="cuda")

    with AsyncCheckpointWriter(tmp_path) as writer:
        writer.save("a.pth", {"w": weight})
        weight.zero_()

    assert bool(read_checkpoint_file(tmp_path / "a.pth")["w"].all())
