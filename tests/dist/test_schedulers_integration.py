"""Real mpirun, and a real Slurm of two nodes on this machine, start ranks that meet and train.

Skipped where Debian's packages openmpi-bin, or slurm-wlm and munge, are not installed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_REPORT = """
import json, os, sys, time
import torch
from drivetrain import dist

launcher = dist.infer_launcher()
dist.init_dist(launcher, backend="gloo", timeout=60)
total = torch.full((2,), dist.get_rank() + 1.0)
dist.all_reduce(total)
own = [*dist.get_dist_info(), dist.get_local_rank(), dist.get_local_size(), total.tolist()]
seen = dist.all_gather_object([launcher, *own, os.environ.get("SLURMD_NODENAME")])
if len(sys.argv) > 2 and dist.get_rank() == 1:
    raise ValueError("the data of rank 1 is broken")
if len(sys.argv) > 2:
    dist.beat("training")
    time.sleep(1000)  # no collective that would notice
if dist.is_main_process():
    open(sys.argv[1], "w").write(json.dumps(seen))
"""
_FOREIGN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _environment(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in _FOREIGN}
    return kept | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"} | extra


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "report.py"
    path.write_text(_REPORT)
    return str(path)


# ---- MPI ------------------------------------------------------------------------------------

needs_mpirun = pytest.mark.skipif(shutil.which("mpirun") is None, reason="openmpi-bin is missing")
_AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def _mpirun(*words: str) -> subprocess.CompletedProcess[str]:
    port = str(_free_ports(1)[0])
    return subprocess.run(
        ["mpirun", "--oversubscribe", "-np", "2", sys.executable, *words],
        env=_environment(MASTER_PORT=port, **_AS_ROOT),
        capture_output=True,
        text=True,
        timeout=120,
    )


@needs_mpirun
def test_ranks_of_mpirun_meet(script: str, tmp_path: Path) -> None:
    done = _mpirun(script, str(tmp_path / "seen.json"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "seen.json").read_text()) == [
        ["mpi", 0, 2, 0, 2, [3.0, 3.0], None],
        ["mpi", 1, 2, 1, 2, [3.0, 3.0], None],
    ]


@needs_mpirun
def test_an_error_on_one_rank_of_mpirun_is_one_traceback(script: str, tmp_path: Path) -> None:
    started_s = time.monotonic()
    done = _mpirun(script, str(tmp_path / "seen.json"), "fail")
    assert done.returncode != 0
    assert done.stderr.count("Traceback") == 1
    assert "ValueError: the data of rank 1 is broken" in done.stderr
    assert time.monotonic() - started_s < 60


# ---- Slurm ----------------------------------------------------------------------------------

_SLURM_TOOLS = ("munged", "slurmctld", "slurmd", "srun", "scontrol")
_SBIN = "/usr/sbin"
_SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=2
PartitionName=all Nodes=n1,n2 Default=YES State=UP
"""


def _tool(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=_SBIN)


def _wait_until(is_so, what: str, timeout_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"waited in vain for {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """Two nodes, a controller and their authentication, on loopback; gives the environment."""
    missing = [name for name in _SLURM_TOOLS if _tool(name) is None]
    if missing:
        pytest.skip(f"slurm-wlm and munge are missing: no {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("a Slurm of its own needs root")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: sockets have at most 107 characters
    ctld, n1, n2 = _free_ports(3)
    host = socket.gethostname().partition(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(_SLURM_CONF.format(folder=folder, host=host, ctld=ctld, n1=n1, n2=n2))
    for name in ("state", "spool.n1", "spool.n2"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    munge = {
        **{f"--{kind}-file": folder / f"munge.{kind}" for kind in ("key", "pid", "log", "seed")},
        "--socket": folder / "munge.socket",
    }
    environment = _environment(SLURM_CONF=str(conf))
    daemons: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str) -> None:
        out = (folder / f"{name}.{len(daemons)}.out").open("w")
        daemons.append(
            subprocess.Popen([str(_tool(name)), *words], env=environment, stdout=out, stderr=out)
        )

    try:
        start("munged", "-F", "--force", *(f"{key}={value}" for key, value in munge.items()))
        _wait_until((folder / "munge.socket").exists, "munged")
        start("slurmctld", "-D", "-f", str(conf))
        for node in ("n1", "n2"):
            start("slurmd", "-D", "-N", node, "-f", str(conf))

        def are_idle() -> bool:
            command = [str(_tool("sinfo")), "-h", "-N", "-o", "%T"]
            listed = subprocess.run(command, env=environment, capture_output=True, text=True)
            return listed.stdout.split() == ["idle", "idle"]

        _wait_until(are_idle, f"two idle nodes; logs are in {folder}")
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in reversed(daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
    shutil.rmtree(folder)


def _srun(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    # The nodes' names resolve nowhere: a preset address is what users of such clusters give.
    preset = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_ports(1)[0])}
    return subprocess.run(
        [str(_tool("srun")), "-N2", "-n4", "--overcommit", sys.executable, *words],
        env=environment | preset,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_ranks_of_two_slurm_nodes_meet(slurm: dict[str, str], script: str, tmp_path: Path) -> None:
    done = _srun(slurm, script, str(tmp_path / "seen.json"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "seen.json").read_text()) == [
        ["slurm", rank, 4, rank % 2, 2, [10.0, 10.0], f"n{rank // 2 + 1}"] for rank in range(4)
    ]


def test_an_error_on_one_rank_of_slurm_ends_all_soon(
    slurm: dict[str, str], script: str, tmp_path: Path
) -> None:
    """The scheduler alone would let three ranks sleep on."""
    started_s = time.monotonic()
    done = _srun(slurm, script, str(tmp_path / "seen.json"), "fail")
    assert done.returncode != 0
    assert done.stderr.count("Traceback") == 1
    assert "ValueError: the data of rank 1 is broken" in done.stderr
    assert time.monotonic() - started_s < 60
