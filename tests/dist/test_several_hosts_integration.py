"""Several torchrun agents: as two hosts with a network of their own, and coming and going."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]

_MEET = """
import json, os, sys
import torch
from drivetrain import dist

dist.init_dist("pytorch", backend="gloo", timeout=60)
hosts, local = int(os.environ["GROUP_WORLD_SIZE"]), dist.get_local_size()
dist.init_local_group(dist.get_rank() // local, local)
total, own = torch.full((1,), float(dist.get_rank())), torch.ones(1)
dist.all_reduce(total)
dist.all_reduce(own, group=dist.get_local_group())
facts = [dist.get_rank(), dist.get_local_rank(), local, hosts, total.item(), own.item()]
seen = dist.all_gather_object([os.environ["GLOO_SOCKET_IFNAME"], *facts])
if dist.is_main_process():
    open(sys.argv[1], "w").write(json.dumps(seen))
"""

_COME_AND_GO = """
import pathlib, sys, time
sys.path.insert(0, sys.argv[1])
import tiny_training as tiny
from drivetrain import dist
from drivetrain.dist.strategy import DDPStrategy

folder = pathlib.Path(sys.argv[2])
env = {"dist_cfg": {"backend": "gloo", "timeout": 30}, "randomness": {"seed": 7}}
strategy = DDPStrategy(work_dir=str(folder), env_kwargs=env).setup()
with tiny.tiny_builders():
    strategy.prepare(tiny.TinyModel(), optim_wrapper=tiny.ADAMW, param_scheduler={"factor": 0.99})
last = folder / "last.pth"
start = strategy.resume(str(last))["meta"]["iter"] if last.exists() else 0
for step in range(start, 100_000):
    tiny.train(strategy, range(step, step + 1))
    if strategy.rank == 0:  # before it is saved: a step that is saved is never done again
        with open(folder / "steps", "a") as steps:
            steps.write(f"{step} {strategy.world_size}\\n")
    strategy.save_checkpoint(str(last), extra_ckpt={"meta": {"iter": step + 1}})
    if dist.broadcast_object((folder / "enough").exists()):
        break
    time.sleep(0.05)
"""


class Agents:
    """torchrun processes that are ended with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, before: tuple[str, ...] = (), **extra: str) -> subprocess.Popen:
        out = (self.folder / f"agent_{len(self.started)}.out").open("w")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | extra
        command = [*before, *TORCHRUN, *words]
        self.started.append(
            subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
        )
        return self.started[-1]

    def wait_until(self, is_so: Callable[[], bool], what: str, timeout_s: float = 90) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < deadline_s, f"waited in vain for {what}: {self.texts()}"
            time.sleep(0.05)

    def texts(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("agent_*.out"))

    def close(self) -> None:
        for agent in self.started:
            if agent.poll() is None:
                agent.terminate()
                try:
                    agent.wait(20)
                except subprocess.TimeoutExpired:
                    agent.kill()
                    agent.wait()


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    made = Agents(tmp_path)
    yield made
    made.close()


def _ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True).returncode == 0


@pytest.fixture
def two_hosts() -> Iterator[list[str]]:
    """Two network namespaces with one cable between them: 10.77.31.1 and 10.77.31.2."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    names = [f"dt{os.getpid()}{side}" for side in "ab"]
    try:
        for name in names:
            if not _ip("netns", "add", name):
                pytest.skip("this machine lets nobody make network namespaces")
        ends = ["link", "add", names[0], "netns", names[0], "type", "veth"]
        assert _ip(*ends, "peer", "name", names[1], "netns", names[1])
        for number, name in enumerate(names, 1):
            inside = ("-n", name)
            assert _ip(*inside, "addr", "add", f"10.77.31.{number}/24", "dev", name)
            assert _ip(*inside, "link", "set", name, "up")
            assert _ip(*inside, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            _ip("netns", "del", name)


def test_two_hosts_on_a_network_of_their_own_meet(
    agents: Agents, two_hosts: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "meet.py"
    script.write_text(_MEET)
    started = [
        agents.start(
            *["--nnodes=2", f"--node-rank={number}", "--nproc-per-node=2"],
            *["--master-addr=10.77.31.1", "--master-port=29531", str(script)],
            str(tmp_path / "seen.json"),
            before=("ip", "netns", "exec", name),
            GLOO_SOCKET_IFNAME=name,
        )
        for number, name in enumerate(two_hosts)
    ]
    assert [agent.wait(120) for agent in started] == [0, 0], agents.texts()
    assert json.loads((tmp_path / "seen.json").read_text()) == [
        [two_hosts[rank // 2], rank, rank % 2, 2, 2, 6.0, 2.0] for rank in range(4)
    ]


def test_a_host_that_comes_late_and_leaves_again_goes_on(agents: Agents, tmp_path: Path) -> None:
    """Alone, then with the newcomer, then alone again, each time from the last checkpoint."""
    script = tmp_path / "train.py"
    script.write_text(_COME_AND_GO)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        *["--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3", "--monitor-interval=0.2"],
        *["--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}", "--rdzv-id=come-and-go"],
        # By default, an agent that left is missed after 15 s.
        "--rdzv-conf=last_call_timeout=1,keep_alive_interval=1,keep_alive_max_attempt=6",
        *["--local-addr=127.0.0.1", str(script)],
        *[str(Path(__file__).parent), str(tmp_path / "run")],
    ]
    # Without it, torch 2.13 lets a newcomer wait for an address that nobody tells: see the README.
    extra = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "GLOO_SOCKET_IFNAME": "lo"}
    steps = tmp_path / "run" / "steps"

    def sizes() -> list[int]:
        return [int(line.split()[1]) for line in steps.read_text().splitlines()]

    def has(size: int, count: int) -> bool:
        return steps.exists() and sizes()[-count:] == [size] * count

    first = agents.start(*words, **extra)
    agents.wait_until(lambda: has(1, 3), "the first steps alone")
    second = agents.start(*words, **extra)
    agents.wait_until(lambda: has(2, 3), "steps of both")
    second.send_signal(signal.SIGTERM)
    agents.wait_until(lambda: has(1, 3), "steps alone again")
    (tmp_path / "run" / "enough").touch()

    assert first.wait(60) == 0, agents.texts()
    assert second.wait(60) != 0
    lines = [tuple(map(int, line.split())) for line in steps.read_text().splitlines()]
    numbers = [step for step, _ in lines]
    # No step is left out; one may be done again, when its checkpoint was not written yet.
    assert all(after - before in (0, 1) for before, after in itertools.pairwise(numbers))
    assert [size for size, _ in itertools.groupby(sizes())] == [1, 2, 1]
    last = torch.load(tmp_path / "run" / "last.pth", weights_only=True)
    assert last["meta"]["iter"] == numbers[-1] + 1
