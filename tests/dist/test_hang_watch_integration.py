"""A rank that hangs is named, with its phase, since when, and its stack; and all ranks end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from drivetrain import dist
from drivetrain.dist._heartbeat import PULSE
from drivetrain.dist._phase import phase_of

_RANK = """
import os, signal, sys, time
import torch
from drivetrain import dist

how = sys.argv[1]
dist.init_dist("pytorch", backend="gloo", hang_timeout=float(sys.argv[2]))

class Frames(torch.utils.data.Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        if index == 3 and dist.get_rank() == 1 and how == "data":
            time.sleep(1000)
        return float(index)

for value in torch.utils.data.DataLoader(Frames(), batch_size=1):
    dist.beat("training")
    if value == 3 and dist.get_rank() == 1:
        if how == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        if how == "error":
            raise ValueError("the data of rank 1 is broken")
        if how == "elsewhere":
            dist.broadcast_object(None, src=0)
    dist.all_reduce(value)
"""


Ranks = list[subprocess.Popen[str]]


def _start_two_ranks(script: Path, *words: str) -> Ranks:
    """Start the program above as two ranks that no launcher looks after."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = [
        {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
        | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for rank in range(2)
    ]
    return [
        subprocess.Popen(
            [sys.executable, str(script), *words],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | place | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        )
        for place in places
    ]


def _end(ranks: Ranks) -> None:
    for process in ranks:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ranks]]:
    """Two ranks for each way to hang, all at once: most of their time they wait."""
    script = tmp_path_factory.mktemp("ranks") / "rank.py"
    script.write_text(_RANK)
    started = {how: _start_two_ranks(script, how, "5") for how in ("data", "stopped", "elsewhere")}
    yield started
    for ranks in started.values():
        _end(ranks)


@pytest.mark.slow
def test_the_rank_that_hangs_is_named_with_phase_time_and_stack(hanging) -> None:
    waiting, blamed = hanging["data"]
    text = blamed.communicate(timeout=120)[1]
    assert re.search(
        r"rank 1 of 2 hangs: in training, phase data, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\d+ s",
        text,
    )
    assert "rank 0 waits for it: in training, phase collective (all_reduce)" in text
    assert "in __getitem__\n    time.sleep(1000)" in text
    if hasattr(torch._C._distributed_c10d, "_dump_fr_trace_json"):
        # Of the flight recorder: rank 1 is one collective behind, which rank 0 waits in.
        of_rank_1, of_rank_0 = re.findall(r"Last collectives of rank [10]: (.*)", text)
        assert re.search(r"#3 gloo:all_reduce \[\[1\]\] finished$", of_rank_1)
        assert re.search(r"#4 gloo:all_reduce \[\[1\]\] scheduled$", of_rank_0)
    assert blamed.returncode == 1
    assert "rank 1 failed (TimeoutError: rank 1 of 2 hangs" in waiting.communicate(timeout=60)[1]


@pytest.mark.slow
def test_a_rank_that_stopped_without_a_word_is_named_by_those_that_wait(hanging) -> None:
    waiting, _ = hanging["stopped"]
    text = waiting.communicate(timeout=120)[1]
    assert "rank 1 of 2 gives no sign of life" in text
    assert waiting.returncode == 1


@pytest.mark.slow
def test_ranks_that_wait_in_different_places_are_both_shown(hanging) -> None:
    first, second = hanging["elsewhere"]
    text = first.communicate(timeout=120)[1] + second.communicate(timeout=120)[1]
    assert text.count("all 2 ranks wait for each other, in different places") == 1
    assert "rank 0 of 2 stands: in training, phase collective (all_reduce)" in text
    assert "rank 1 of 2 stands: in training, phase collective (broadcast_object_list)" in text


@pytest.mark.slow
def test_an_error_ends_all_ranks_soon_and_is_shown_by_one(tmp_path: Path) -> None:
    """Without a launcher that would end the others."""
    script = tmp_path / "rank.py"
    script.write_text(_RANK)
    ranks = other, failing = _start_two_ranks(script, "error", "600")
    try:
        text = failing.communicate(timeout=60)[1]
        failed_s = time.monotonic()
        consequence = other.communicate(timeout=60)[1]
        assert time.monotonic() - failed_s < 10
    finally:
        _end(ranks)
    assert text.count("Traceback") == 1
    assert "ValueError: the data of rank 1 is broken" in text
    assert "Traceback" not in consequence
    assert "rank 0 ends too" in consequence
    assert "because rank 1 failed (ValueError: the data of rank 1 is broken) first." in consequence


_LEAVE = """
import atexit, sys
from torch.distributed import TCPStore
from drivetrain.dist import _heartbeat, _process_group
server = TCPStore("127.0.0.1", 0, is_master=True)
_heartbeat._MAX_POLL_S = 0  # the watch asks the store all the time
_heartbeat.prepare_watch(TCPStore("127.0.0.1", server.port), 0, 2, 600.0)
_heartbeat.beat("training")
atexit.register(_process_group._leave_at_exit)
if sys.argv[1] == "error":
    raise ValueError
"""


@pytest.mark.slow
def test_a_watched_rank_leaves_with_its_own_exit_code() -> None:
    """Not with SIGABRT, because the watch was talking to the store when the interpreter ended."""
    started = [
        subprocess.Popen([sys.executable, "-c", _LEAVE, how], stderr=subprocess.PIPE)
        for how in ("order", "error")
    ]
    errors = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0, 1], errors


class _Frames(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> str:
        return phase_of(sys._getframe())


class _Identity(torch.autograd.Function):
    seen: str = ""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, grad):
        _Identity.seen = phase_of(sys._getframe())
        return grad


def save_checkpoint() -> str:
    return phase_of(sys._getframe())


def train_step() -> str:
    return phase_of(sys._getframe())


def test_a_stack_tells_the_phase() -> None:
    assert next(iter(DataLoader(_Frames(), batch_size=None))) == "data"
    _Identity.apply(torch.ones(1, requires_grad=True)).backward()
    assert _Identity.seen == "backward"
    assert save_checkpoint() == "save"
    assert train_step() == "forward"


def test_a_beat_is_cheap_and_needs_no_group() -> None:
    before = PULSE.beats
    started_s = time.process_time()
    for _ in range(10_000):
        dist.beat()
    spent_us = (time.process_time() - started_s) * 100
    assert PULSE.beats == before + 10_000
    assert spent_us < 5  # about 0.1 on an idle machine
