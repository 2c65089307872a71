"""SIGKILL at any moment never costs a good checkpoint, and never leaves half of one."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from drivetrain.checkpoint import (
    AsyncCheckpointWriter,
    CheckpointFolder,
    CheckpointWriteError,
    read_checkpoint_file,
    save_checkpoint,
)
from drivetrain.checkpoint._hashing import HashingWriter

KillEverywhere = Callable[[Callable[[], object], Callable[[], None]], int]
RunInChild = Callable[[Callable[[], object]], int]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")


def state(step: int, size: int = 1000) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((size,), float(step))}


def step_of(path: str) -> int:
    """Load a checkpoint, and see that it is all of one save."""
    checkpoint = read_checkpoint_file(path)
    assert bool((checkpoint["weights"] == checkpoint["step"]).all())
    return checkpoint["step"]


def every_final_name_is_whole(folder: CheckpointFolder) -> list[int]:
    names = [name for name in os.listdir(folder.path) if name.endswith(".pth")]
    return [step_of(folder.path_of(name)) for name in names]


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_a_kill_at_any_write_point_of_save_point_rotate_keeps_the_newest_good_one(
    tmp_path: Path, killed_at_each_write_point: KillEverywhere, background: bool
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write("1.pth", state(1))
    folder.set_latest("1.pth")
    reached = {1}

    def save_and_rotate() -> None:
        latest = folder.latest()
        assert latest is not None
        step = step_of(latest) + 1
        if background:
            with AsyncCheckpointWriter(folder) as writer:
                writer.save(
                    f"{step}.pth",
                    state(step),
                    set_latest=True,
                    then=lambda _: folder.remove(latest),
                )
            return
        folder.write(f"{step}.pth", state(step))
        folder.set_latest(f"{step}.pth")
        folder.remove(latest)

    def check() -> None:
        latest = folder.latest()
        assert latest is not None
        assert folder.skipped == []
        step = step_of(latest)
        assert step >= max(reached)
        reached.add(step)
        assert max(every_final_name_is_whole(folder)) in (step, step + 1)

    points = killed_at_each_write_point(save_and_rotate, check)

    assert points > 25
    folder.clean()
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []


def test_a_kill_at_any_write_point_of_an_overwrite_keeps_the_old_or_the_new(
    tmp_path: Path, killed_at_each_write_point: KillEverywhere
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write("last.pth", state(1))

    def overwrite() -> None:
        folder.write("last.pth", state(step_of(folder.path_of("last.pth")) + 1))

    def check() -> None:
        assert folder.verify("last.pth").method == "sha256"
        step_of(folder.path_of("last.pth"))

    points = killed_at_each_write_point(overwrite, check)

    assert points > 15
    assert step_of(folder.path_of("last.pth")) > 1


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_a_full_disk_is_an_error_that_keeps_what_was_there(
    tmp_path: Path, run_in_child: RunInChild, background: bool
) -> None:
    save_checkpoint(state(1), tmp_path / "last.pth")

    def fill() -> int:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            if background:
                with AsyncCheckpointWriter(tmp_path) as writer:
                    writer.save("last.pth", state(2, size=2_000_000), set_latest=True)
            else:
                save_checkpoint(state(2, size=2_000_000), tmp_path / "last.pth")
        except CheckpointWriteError as err:
            return 7 if "File too large" in str(err) else 8
        return 9

    assert run_in_child(fill) == 7
    assert step_of(str(tmp_path / "last.pth")) == 1
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []


def test_ctrl_c_in_the_middle_leaves_nothing_half(tmp_path: Path, run_in_child: RunInChild) -> None:
    save_checkpoint(state(1), tmp_path / "last.pth")

    def interrupted() -> int:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        write = HashingWriter.write

        def write_and_interrupt(self: HashingWriter, data: Any) -> int:
            if len(data) > 1_000_000:
                os.kill(os.getpid(), signal.SIGINT)
            return write(self, data)

        HashingWriter.write = write_and_interrupt  # type: ignore[method-assign]
        try:
            save_checkpoint(state(2, size=1_000_000), tmp_path / "last.pth")
        except KeyboardInterrupt:
            return 7
        return 9

    assert run_in_child(interrupted) == 7
    assert step_of(str(tmp_path / "last.pth")) == 1
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []


def test_a_read_only_folder_is_an_error(tmp_path: Path, run_in_child: RunInChild) -> None:
    tmp_path.chmod(0o500)

    def try_to_write() -> int:
        if os.geteuid() == 0:  # root may write anywhere
            os.setuid(65534)
        try:
            save_checkpoint(state(1), tmp_path / "a.pth")
        except CheckpointWriteError as err:
            return 7 if "Permission denied" in str(err) else 8
        return 9

    assert run_in_child(try_to_write) == 7
    tmp_path.chmod(0o700)
    assert os.listdir(tmp_path) == []


def test_two_runs_that_write_one_name_leave_a_whole_file(
    tmp_path: Path, run_in_child: RunInChild
) -> None:
    folder = CheckpointFolder(tmp_path)

    def two_runs() -> None:
        other = os.fork()
        for step in range(20):
            folder.write("last.pth", state(step + 100 * (other == 0)))
        if other == 0:
            os._exit(0)
        os.waitpid(other, 0)

    assert run_in_child(two_runs) == 0
    assert folder.verify("last.pth").method == "sha256"


def test_the_process_does_not_exit_before_a_background_save_is_whole(
    tmp_path: Path, run_in_child: RunInChild
) -> None:
    import subprocess

    code = (
        "import sys, torch; from drivetrain.checkpoint import AsyncCheckpointWriter as W; "
        "W(sys.argv[1]).save('a.pth', {'w': torch.ones(3_000_000)}, set_latest=True)"
    )

    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")
    assert CheckpointFolder(tmp_path).latest() == str(tmp_path / "a.pth")


def keep_saving(folder: CheckpointFolder, background: bool) -> None:
    """Save for ever, keeping one; in the foreground or in the background."""
    latest = folder.latest()
    step = 0 if latest is None else step_of(latest)
    previous = latest
    writer = AsyncCheckpointWriter(folder)
    while True:
        step += 1
        old = previous

        def rotate(path: str, old: str | None = old) -> None:
            if old is not None:
                folder.remove(old)

        if background:
            writer.save(f"{step}.pth", state(step, 200_000), set_latest=True, then=rotate)
        else:
            folder.write(f"{step}.pth", state(step, 200_000))
            folder.set_latest(f"{step}.pth")
            rotate("")
        previous = folder.path_of(f"{step}.pth")


@pytest.mark.slow
@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_kills_at_100_random_moments_never_lose_the_newest_good_one(
    tmp_path: Path, background: bool
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.write("0.pth", state(0, 200_000))
    folder.set_latest("0.pth")
    moments, best = random.Random(background), 0
    for _ in range(100):
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)  # as in conftest.in_child
            try:
                keep_saving(folder, background)
            finally:
                os._exit(1)
        time.sleep(moments.uniform(0.002, 0.08))  # the random moment is what is tested
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        latest = folder.latest()
        assert latest is not None
        assert folder.skipped == []
        assert step_of(latest) >= best
        best = step_of(latest)
        every_final_name_is_whole(folder)
    assert best > 10
    folder.clean()
    assert [name for name in os.listdir(tmp_path) if name.endswith(".tmp")] == []
