"""Real processes, started by torch's own launcher, meet, fail and restart as told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drivetrain import dist

pytestmark = pytest.mark.slow

_REPORT = """
import json, os, sys
from drivetrain import dist
dist.init_dist(dist.infer_launcher(), backend="gloo", timeout=30)
place = [*dist.get_dist_info(), dist.get_local_rank(), dist.get_local_size()]
seen = dist.all_gather_object([*place, os.environ["TORCHELASTIC_USE_AGENT_STORE"]])
if dist.is_main_process():
    open(sys.argv[1], "w").write(json.dumps(seen))
"""

_FAIL = """
import sys
from drivetrain import dist
dist.init_dist("pytorch", backend="gloo", timeout=30)
try:
    if dist.get_rank() == int(sys.argv[1]):
        raise ValueError(f"the data of rank {sys.argv[1]} is broken")
    dist.barrier()
except ValueError as err:
    dist.record_failure(err, exit_code=3)
    sys.exit(3)
"""

_FAIL_ALL = """
import os, time
from drivetrain import dist
from drivetrain.dist import _bell, _failure
dist.init_dist("pytorch", backend="gloo", timeout=30)
tell = _failure.ring
if dist.get_rank() == 1:  # the first that tells the others, and the last that leaves
    _failure.ring = lambda err: (tell(err), time.sleep(5))[0]
else:
    while _bell.failed_first() is None:
        time.sleep(0.01)
dist.record_failure(ValueError("no rank can work with this"))
os._exit(1)
"""

_RESTART = """
import os, pathlib, signal, sys, time
import torch
from drivetrain import dist
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
if attempt == 1 and os.environ["RANK"] == "1":
    time.sleep(1)  # late on purpose: an early rank must not read the address of a dead one
dist.init_dist("pytorch", backend="gloo", timeout=30)
total = torch.ones(1)
dist.all_reduce(total)
if attempt == 0 and dist.get_rank() == 1:
    os.kill(os.getpid(), signal.SIGKILL)
dist.barrier()
if dist.is_main_process():
    pathlib.Path(sys.argv[1]).write_text(f"{attempt} {int(total)}")
"""

_LAUNCH = """
import sys
from drivetrain.dist import launch
sys.exit(launch(sys.argv[3:], int(sys.argv[1]), max_restarts=int(sys.argv[2])))
"""


def _script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(text)
    return str(path)


def _start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )


def _finish(*started: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """Exit codes and error streams of what was started side by side."""
    try:
        texts = [process.communicate(timeout=120)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, text) for process, text in zip(started, texts, strict=True)]


def _launch(nproc: int, *argv: str) -> subprocess.Popen[str]:
    return _start("-c", _LAUNCH, str(nproc), "0", *argv)


def test_launched_ranks_meet_and_leave_in_order(tmp_path: Path) -> None:
    """At a port that is held all the time: one that is only chosen may be taken by then."""
    out = tmp_path / "seen.json"
    [(code, stderr)] = _finish(_launch(2, _script(tmp_path, _REPORT), str(out)))
    assert code == 0, stderr
    assert json.loads(out.read_text()) == [[0, 2, 0, 2, "True"], [1, 2, 1, 2, "True"]]
    assert "destroy_process_group" not in stderr  # torch warns when a group is left behind


def test_ranks_that_all_fail_show_one_traceback_whoever_leaves_first(tmp_path: Path) -> None:
    [(code, stderr)] = _finish(_launch(2, _script(tmp_path, _FAIL_ALL)))
    assert code == 1
    assert "rank 1 failed first" in stderr
    assert "ValueError: no rank can work with this" in stderr


_UNCAUGHT = """
import sys
from drivetrain import dist
dist.init_dist("pytorch", "gloo")
if dist.get_rank() == int(sys.argv[1]):
    raise KeyError("lost")
dist.barrier()
"""


def test_an_error_that_nobody_caught_is_told_where_it_is_read(tmp_path: Path) -> None:
    script = _script(tmp_path, _UNCAUGHT)
    ends = _finish(*(_launch(2, script, str(rank)) for rank in (0, 1)))
    for rank, (code, stderr) in enumerate(ends):
        assert code == 1
        before, last = stderr.split(f"rank {rank} failed first: exit code 1")
        # Rank 0 writes here itself; what rank 1 wrote is kept back until it turns out to matter.
        assert "KeyError: 'lost'" in (before if rank == 0 else last)
        assert rank == 0 or "Traceback" not in before
        assert "SIGTERM" not in stderr  # the agent's own account of whom it ended


def test_the_first_failing_rank_speaks_last_and_gives_its_exit_code(tmp_path: Path) -> None:
    script = _script(tmp_path, _FAIL)
    ends = _finish(*(_launch(2, script, str(rank)) for rank in (0, 1)))
    for rank, (code, stderr) in enumerate(ends):
        assert code == 3
        last = stderr[stderr.index(f"rank {rank} failed first") :]
        assert "exit code 3" in last
        assert f"ValueError: the data of rank {rank} is broken" in last
        assert "Traceback" in last


def test_torchrun_restarts_ranks_after_a_kill(tmp_path: Path) -> None:
    """Torch 2.13 alone lets the second attempt read addresses of the first, and hangs."""
    script = _script(tmp_path, _RESTART)
    rendezvous = {
        "standalone": ["--standalone"],
        "address": ["--master-addr", "127.0.0.1", "--master-port", str(_free_port())],
    }
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=2"]
    ends = _finish(
        *(
            _start(*torchrun, *words, script, str(tmp_path / name))
            for name, words in rendezvous.items()
        )
    )
    for name, (code, stderr) in zip(rendezvous, ends, strict=True):
        assert code == 0, stderr
        assert (tmp_path / name).read_text() == "1 2"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


_INTERRUPTED = """
import pathlib, signal, sys, time
from drivetrain import dist
dist.init_dist("pytorch", backend="gloo", timeout=30)
stop = []
signal.signal(signal.SIGINT, lambda *_: stop.append(1))
pathlib.Path(sys.argv[1] + str(dist.get_rank())).touch()
while not stop:
    time.sleep(0.05)
pathlib.Path(sys.argv[1] + "saved" + str(dist.get_rank())).touch()
sys.exit(130)
"""


def test_ctrl_c_reaches_every_rank_and_waits_for_it(tmp_path: Path) -> None:
    prefix = str(tmp_path / "rank")
    launched = subprocess.Popen(
        [sys.executable, "-c", _LAUNCH, "2", "0", _script(tmp_path, _INTERRUPTED), prefix],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    try:
        deadline = time.monotonic() + 60
        while not all(Path(prefix + str(rank)).exists() for rank in range(2)):
            assert time.monotonic() < deadline
            assert launched.poll() is None
            time.sleep(0.05)
        launched.send_signal(signal.SIGINT)
        assert launched.wait(30) == 130
    finally:
        launched.kill()
    assert all(Path(prefix + "saved" + str(rank)).exists() for rank in range(2))


def test_launch_refuses_no_process_and_a_launch_within_a_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(dist.LauncherError, match="at least 1, got 0"):
        dist.launch(["-c", ""], 0)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with pytest.raises(dist.LauncherError, match="by torchrun already"):
        dist.launch(["-c", ""], 2)
