"""Which checkpoint a run goes on from."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from drivetrain.checkpoint import (
    CheckpointCorruptError,
    CheckpointFolder,
    CheckpointNotFoundError,
    find_latest_checkpoint,
    summarize_checkpoint,
)


def folder_with(path: Path, *names: str) -> CheckpointFolder:
    folder = CheckpointFolder(path)
    for age, name in enumerate(names):
        written = folder.write(name, {"name": name, "w": torch.ones(100)})
        os.utime(written, (1_000_000 + age, 1_000_000 + age))
    return folder


def damage(path: str) -> None:
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2] ^= 1
    Path(path).write_bytes(content)


def test_the_pointer_decides(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "epoch_1.pth", "epoch_2.pth")

    folder.set_latest("epoch_1.pth")

    assert folder.latest() == str(tmp_path / "epoch_1.pth")
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_1.pth")


def test_without_a_pointer_the_newest_whole_one_of_ours_is_taken(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "epoch_1.pth", "epoch_2.pth", "best_acc_epoch_1.pth")
    torch.save({}, tmp_path / "pretrained.pth")

    assert folder.latest() == str(tmp_path / "epoch_2.pth")
    assert folder.skipped == []


def test_a_damaged_checkpoint_is_passed_over_and_the_reason_kept(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "epoch_1.pth", "epoch_2.pth", "epoch_3.pth")
    folder.set_latest("epoch_3.pth")
    damage(folder.path_of("epoch_3.pth"))
    Path(folder.path_of("epoch_2.pth")).write_bytes(b"")

    assert folder.latest() == str(tmp_path / "epoch_1.pth")
    (third, why_third), (second, why_second) = folder.skipped
    assert (third, second) == (folder.path_of("epoch_3.pth"), folder.path_of("epoch_2.pth"))
    assert why_third.startswith("its bytes changed since it was written")
    assert why_second.startswith("has 0 bytes, its manifest says")


def test_a_best_one_is_the_last_resort(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "epoch_1.pth", "best_acc_epoch_1.pth")
    damage(folder.path_of("epoch_1.pth"))

    assert folder.latest() == str(tmp_path / "best_acc_epoch_1.pth")


def test_a_pointer_to_nowhere_is_named(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "epoch_1.pth", "epoch_2.pth")
    folder.set_latest("epoch_2.pth")
    folder.remove("epoch_2.pth")

    assert folder.latest() == str(tmp_path / "epoch_1.pth")
    assert folder.skipped[0][1] == "the pointer names it, but it does not exist"


def test_a_moved_folder_still_finds_its_checkpoint(tmp_path: Path) -> None:
    folder_with(tmp_path / "old", "epoch_1.pth").set_latest("epoch_1.pth")
    (tmp_path / "old").rename(tmp_path / "new")

    assert CheckpointFolder(tmp_path / "new").latest() == str(tmp_path / "new" / "epoch_1.pth")


def test_a_pointer_of_the_reference_engine_to_a_file_without_manifest_is_followed(
    tmp_path: Path,
) -> None:
    torch.save({"a": 1}, tmp_path / "epoch_1.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_1.pth"))

    assert find_latest_checkpoint(str(tmp_path)) == str(tmp_path / "epoch_1.pth")


def test_a_relative_folder_gives_relative_paths_that_can_be_handed_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_with(Path("runs/a"), "epoch_1.pth", "epoch_2.pth")
    folder.set_latest("epoch_2.pth")
    latest = folder.latest()

    assert latest == os.path.join("runs", "a", "epoch_2.pth")
    assert folder.verify(latest).method == "sha256"
    folder.set_latest(latest)
    folder.remove(latest)
    assert folder.latest() == os.path.join("runs", "a", "epoch_1.pth")


def test_a_pointer_may_name_a_checkpoint_elsewhere(tmp_path: Path) -> None:
    elsewhere = folder_with(tmp_path / "b", "epoch_1.pth").path_of("epoch_1.pth")
    folder = folder_with(tmp_path / "a", "epoch_9.pth")

    folder.set_latest(elsewhere)

    assert folder.latest() == elsewhere


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "missing"])
def test_nothing_to_resume_is_none(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "x"
    if exists:
        path.mkdir()

    assert find_latest_checkpoint(str(path)) is None
    assert CheckpointFolder(path).names() == []
    assert CheckpointFolder(path).clean() == []


def test_what_is_skipped_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_with(tmp_path, "epoch_1.pth")
    damage(folder.path_of("epoch_1.pth"))

    assert find_latest_checkpoint(str(tmp_path)) is None
    logging.shutdown()
    assert "epoch_1.pth: its bytes changed" in "".join(capsys.readouterr())


def test_a_pointer_is_only_moved_to_what_exists(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "epoch_1.pth")
    folder.set_latest("epoch_1.pth")

    with pytest.raises(CheckpointNotFoundError, match="no such file to point to"):
        folder.set_latest("epoch_2.pth")

    assert folder.latest() == folder.path_of("epoch_1.pth")


def test_removing_takes_the_manifest_along(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "epoch_1.pth")

    folder.remove("epoch_1.pth")

    assert [name for name in os.listdir(tmp_path) if "epoch" in name] == []
    with pytest.raises(CheckpointNotFoundError, match="no such file to remove"):
        folder.remove("epoch_1.pth")


def test_verify_raises_what_is_wrong(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "epoch_1.pth")

    assert folder.verify("epoch_1.pth").method == "sha256"
    damage(folder.path_of("epoch_1.pth"))
    with pytest.raises(CheckpointCorruptError, match="its bytes changed"):
        folder.verify("epoch_1.pth")
    with pytest.raises(CheckpointNotFoundError):
        folder.verify("epoch_2.pth")


@pytest.mark.skipif(os.name == "nt", reason="needs flock")
def test_the_first_write_collects_what_a_killed_run_left(tmp_path: Path) -> None:
    old, new = tmp_path / ".a.pth.1-0123abcd.tmp", tmp_path / ".b.pth.1-0123abcd.tmp"
    old.touch()
    new.touch()
    os.utime(old, (1, 1))

    CheckpointFolder(tmp_path).write("a.pth", {})

    assert not old.exists()
    assert new.exists()


def test_names_come_newest_first(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "epoch_2.pth", "epoch_10.pth", "best.pth")

    assert folder.names() == ["best.pth", "epoch_10.pth", "epoch_2.pth"]


def test_entries_tell_which_is_the_latest_and_which_is_damaged(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "epoch_1.pth", "epoch_2.pth")
    damage(folder.path_of("epoch_2.pth"))

    second, first = folder.entries()

    assert (first.name, first.is_latest, first.problem) == ("epoch_1.pth", True, None)
    assert first.size_bytes == os.path.getsize(first.path)
    assert not second.is_latest
    assert "its bytes changed" in str(second.problem)


def test_a_summary_says_what_is_in_a_file(tmp_path: Path) -> None:
    state = {
        "meta": {"epoch": 3, "cfg": "x" * 100},
        "state_dict": torch.nn.Linear(3, 2).state_dict(),
        "step": 7,
        "one": torch.ones(2, dtype=torch.bfloat16),
        "nothing": {},
    }
    path = CheckpointFolder(tmp_path).write("a.pth", state)

    summary = summarize_checkpoint(path)

    assert summary.sections["state_dict"] == "2 tensors, 8 values, float32"
    assert summary.sections["meta"].startswith("epoch: 3, cfg: 'xxx")
    assert summary.sections["meta"].endswith("…")
    assert summary.sections["step"] == "7"
    assert summary.sections["one"] == "tensor (2,), bfloat16"
    assert summary.sections["nothing"] == "empty"
    size = os.path.getsize(path)
    assert str(summary).split("\n")[0] == f"{path}  {size:,} bytes, verified by sha256"


def test_a_summary_of_bare_weights_is_one_line(tmp_path: Path) -> None:
    path = CheckpointFolder(tmp_path).write("a.pth", torch.nn.Linear(3, 2).state_dict())

    assert summarize_checkpoint(path).sections == {"(weights)": "2 tensors, 8 values, float32"}


def test_a_folder_in_a_store_works_alike() -> None:
    pytest.importorskip("fsspec")
    folder = CheckpointFolder("memory://runs/digits")
    assert folder.latest() is None
    folder.write("epoch_9.pth", {"epoch": 9})
    folder.write("epoch_10.pth", {"epoch": 10})

    assert folder.latest() == "memory://runs/digits/epoch_10.pth"
    folder.set_latest("epoch_9.pth")
    assert folder.latest() == "memory://runs/digits/epoch_9.pth"
    folder._backend.put(b"short", folder.path_of("epoch_9.pth"))
    assert folder.latest() == "memory://runs/digits/epoch_10.pth"
    assert "is not what its manifest says" in folder.skipped[0][1]
    folder.remove("epoch_10.pth")
    assert folder.names() == ["epoch_9.pth"]


def test_what_another_run_wrote_under_the_same_name_is_not_removed(tmp_path) -> None:
    mine, other = CheckpointFolder(tmp_path), CheckpointFolder(tmp_path)
    mine.write("epoch_1.pth", {"run": 1})
    identity = mine.identity("epoch_1.pth")
    other.write("epoch_1.pth", {"run": 2})

    mine.remove("epoch_1.pth", only=identity)

    assert mine.verify("epoch_1.pth").method == "sha256"
    mine.remove("epoch_1.pth", only=mine.identity("epoch_1.pth"))
    assert mine.names() == []


def test_a_file_that_another_run_replaced_right_after_the_write_is_not_ones_own(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write("epoch_1.pth", {"epoch": 1})
    other = tmp_path / "other.pth"
    other.write_bytes((tmp_path / "epoch_1.pth").read_bytes())
    other.replace(tmp_path / "epoch_1.pth")  # what the rename of another run does

    own = folder.identity("epoch_1.pth", as_written=True)

    assert own != folder.identity("epoch_1.pth")
    folder.remove("epoch_1.pth", only=own)
    assert (tmp_path / "epoch_1.pth").exists()
