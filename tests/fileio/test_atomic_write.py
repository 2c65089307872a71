"""A file is whole or absent."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from pathlib import Path

import pytest

from drivetrain.fileio import LockTimeoutError, atomic_write, file_lock, remove_stale_temporaries

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and flock")


def test_a_finished_block_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"content")

    assert (tmp_path / "a.bin").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_the_name_does_not_exist_while_the_block_runs(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt", "w") as file:
        file.write("half")
        assert not (tmp_path / "a.txt").exists()


def test_an_error_in_the_block_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(TypeError, match="must be str"), atomic_write(path, "w") as file:
        file.write(b"new")

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_text_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt", "w") as file:
        file.write("größer")

    assert (tmp_path / "a.txt").read_bytes() == "größer".encode()


@posix_only
def test_an_existing_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("old")
    path.chmod(0o750)

    with atomic_write(path) as file:
        file.write(b"new")

    assert stat.S_IMODE(path.stat().st_mode) == 0o750


@posix_only
def test_a_new_file_obeys_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"")
    finally:
        os.umask(old)

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@posix_only
def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with atomic_write(tmp_path / "link", "w") as file:
        file.write("new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("mode", ["a", "r", "r+b", "x"])
def test_a_mode_that_is_not_writing_a_whole_file_is_refused(tmp_path: Path, mode: str) -> None:
    with pytest.raises(ValueError, match="must be 'wb' or 'w'"), atomic_write(tmp_path / "a", mode):
        pass


def test_a_folder_as_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder"), atomic_write(tmp_path):
        pass


@posix_only
def test_a_device_is_never_replaced() -> None:
    with pytest.raises(ValueError, match="no regular file"), atomic_write("/dev/null"):
        pass


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match="no such folder; mkdir_or_exist"),
        atomic_write(tmp_path / "nowhere" / "a"),
    ):
        pass


@posix_only
def test_a_killed_writer_leaves_no_file_and_its_rest_is_collected(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    assert not (tmp_path / "a").exists()
    assert len(remove_stale_temporaries(tmp_path)) == 1
    assert os.listdir(tmp_path) == []


@posix_only
def test_a_file_being_written_is_not_stale(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as file:
        file.write(b"content")
        assert remove_stale_temporaries(tmp_path) == []

    assert (tmp_path / "a").read_bytes() == b"content"


@posix_only
def test_what_changed_just_now_can_be_left_alone(tmp_path: Path) -> None:
    rest = tmp_path / ".a.1234-0123abcd.tmp"
    rest.touch()

    assert remove_stale_temporaries(tmp_path, min_age_s=60) == []
    os.utime(rest, (1, 1))
    assert remove_stale_temporaries(tmp_path, min_age_s=60) == [rest.name]


def test_foreign_files_are_never_collected(tmp_path: Path) -> None:
    for name in ("a.tmp", ".a.tmp", ".a.12.tmp", "x.12-0123abcd.tmp"):
        (tmp_path / name).touch()

    assert remove_stale_temporaries(tmp_path) == []


def test_a_lock_is_waited_for_and_the_wait_can_be_bounded(tmp_path: Path) -> None:
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with file_lock(tmp_path / "index"):
            taken.set()
            free.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(10)
    with (
        pytest.raises(LockTimeoutError, match=r"index\.lock was not free within 0\.05 s"),
        file_lock(tmp_path / "index", timeout_s=0.05),
    ):
        pass
    free.set()
    with file_lock(tmp_path / "index", timeout_s=10):
        thread.join()


@posix_only
def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with file_lock(tmp_path / "index"):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    with file_lock(tmp_path / "index", timeout_s=1):
        pass
