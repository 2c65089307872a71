"""Checkpoints that are folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drivetrain.checkpoint import (
    CheckpointCorruptError,
    CheckpointFolder,
    CheckpointNotFoundError,
    seal_folder,
    verify_checkpoint,
)


def shards(path: Path, *, sealed: bool = True) -> Path:
    (path / "sub").mkdir(parents=True)
    (path / ".metadata").write_bytes(b"names")
    (path / "sub" / "__0_0.distcp").write_bytes(b"weights")
    if sealed:
        seal_folder(path)
    return path


def test_a_sealed_folder_is_verified_file_by_file(tmp_path: Path) -> None:
    folder = shards(tmp_path / "a")

    check = verify_checkpoint(folder)

    assert (check.method, check.size_bytes) == ("sha256", len(b"names") + len(b"weights"))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "sub" / "__0_0.distcp").unlink(), "__0_0.distcp is missing"),
        (lambda f: (f / "sub" / "__0_0.distcp").write_bytes(b"cut"), "has 3 bytes"),
        (lambda f: (f / "sub" / "__0_0.distcp").write_bytes(b"Weights"), "changed since"),
        (lambda f: (f / "manifest.json").write_bytes(b"{"), "manifest.json cannot be read"),
    ],
    ids=["missing", "cut", "changed", "manifest"],
)
def test_a_damaged_folder_is_passed_over(tmp_path: Path, damage: object, reason: str) -> None:
    run = CheckpointFolder(tmp_path)
    shards(tmp_path / "iter_1.pth")
    shards(tmp_path / "iter_2.pth")
    os.utime(tmp_path / "iter_1.pth", (1, 1))
    run.set_latest("iter_2.pth")
    assert run.latest() == run.path_of("iter_2.pth")

    damage(tmp_path / "iter_2.pth")  # type: ignore[operator]

    assert run.latest() == run.path_of("iter_1.pth")
    assert reason in run.skipped[0][1]


def test_a_folder_that_nobody_sealed_is_checked_by_its_structure(tmp_path: Path) -> None:
    folder = shards(tmp_path / "a", sealed=False)

    assert verify_checkpoint(folder).method == "structure"
    (folder / "sub" / "__0_0.distcp").unlink()
    with pytest.raises(CheckpointCorruptError, match="is not complete"):
        verify_checkpoint(folder)


def test_files_and_folders_are_pointed_to_listed_and_removed_alike(tmp_path: Path) -> None:
    run = CheckpointFolder(tmp_path)
    run.write("iter_1.pth", {"iter": 1})
    shards(tmp_path / "iter_2.pth")
    (tmp_path / "vis_data").mkdir()
    os.utime(tmp_path / "iter_1.pth", (1, 1))

    assert run.names() == ["iter_2.pth", "iter_1.pth"]
    assert run.latest() == run.path_of("iter_2.pth")
    run.set_latest("iter_2.pth")
    run.remove("iter_2.pth")
    assert run.names() == ["iter_1.pth"]
    left = {name for name in os.listdir(tmp_path) if name.startswith("iter") or "removed" in name}
    assert left == {"iter_1.pth", "iter_1.pth.manifest.json"}


def test_an_unsealed_folder_is_taken_only_if_the_pointer_names_it(tmp_path: Path) -> None:
    run = CheckpointFolder(tmp_path)
    shards(tmp_path / "iter_1.pth.partial", sealed=False)
    assert run.latest() is None

    run.set_latest("iter_1.pth.partial")

    assert run.latest() == run.path_of("iter_1.pth.partial")


def test_another_folder_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "vis_data").mkdir()

    with pytest.raises(CheckpointNotFoundError):
        CheckpointFolder(tmp_path).set_latest("vis_data")
