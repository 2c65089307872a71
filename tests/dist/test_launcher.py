"""What a launcher leaves in the environment says where this process stands."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from drivetrain import dist
from drivetrain.dist._launcher import read_place

_TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "1234",
}
_SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NODELIST": "n[1-3]",
    "SLURM_TASKS_PER_NODE": "2(x2),1",
}
_MPI = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment without a launcher; restored afterwards."""
    prefixes = ("SLURM_", "OMPI_", "TORCHELASTIC_")
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    clean = {k: v for k, v in os.environ.items() if k not in names and not k.startswith(prefixes)}
    monkeypatch.setattr(os, "environ", clean)
    return clean


@pytest.mark.parametrize(
    ("variables", "launcher"),
    [
        ({}, "none"),
        (_TORCHRUN, "pytorch"),
        (_SLURM, "slurm"),
        ({"SLURM_NTASKS": "2"}, "slurm"),
        (_MPI, "mpi"),
        (_SLURM | _TORCHRUN, "pytorch"),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2"}, "none"),
    ],
    ids=["none", "torchrun", "srun", "tasks", "mpirun", "torchrun in srun", "batch script"],
)
def test_the_launcher_is_inferred(
    env: dict[str, str], variables: dict[str, str], launcher: str
) -> None:
    env.update(variables)
    assert dist.infer_launcher() == launcher


def test_torchrun_says_everything(env: dict[str, str]) -> None:
    env.update(_TORCHRUN)
    place = read_place("pytorch")
    assert (place.rank, place.world_size, place.local_rank, place.local_world_size) == (3, 4, 1, 2)
    assert (place.master_addr, place.master_port) == ("10.0.0.1", 1234)


def test_slurm_with_a_preset_address_needs_no_tool(env: dict[str, str]) -> None:
    env.update(_SLURM, MASTER_ADDR="10.0.0.9")
    place = read_place("slurm")
    assert (place.rank, place.world_size, place.local_rank, place.local_world_size) == (3, 5, 1, 2)
    assert place.master_addr == "10.0.0.9"
    assert place.master_port == 29517  # 29500 + job id: jobs on one machine do not meet


def test_slurm_asks_its_own_tool_for_the_first_host(env: dict[str, str], tmp_path: Path) -> None:
    tool = tmp_path / "scontrol"
    tool.write_text('#!/bin/sh\n[ "$3" = "n[1-3]" ] && printf "n1\\nn2\\nn3\\n"\n')
    tool.chmod(0o755)
    env.update(_SLURM, PATH=f"{tmp_path}:{env['PATH']}")
    assert read_place("slurm", port=4000).master_addr == "n1"


def test_slurm_without_its_tool_asks_for_an_address(env: dict[str, str], tmp_path: Path) -> None:
    env.update(_SLURM, PATH=str(tmp_path))
    with pytest.raises(dist.LauncherError, match="set MASTER_ADDR"):
        read_place("slurm")


def test_mpi_on_one_machine_needs_no_address(env: dict[str, str]) -> None:
    env.update(_MPI)
    place = read_place("mpi")
    assert (place.rank, place.world_size, place.master_addr) == (1, 2, "127.0.0.1")


def test_mpi_on_several_machines_asks_for_an_address(env: dict[str, str]) -> None:
    env.update(_MPI, OMPI_COMM_WORLD_LOCAL_SIZE="1")
    with pytest.raises(dist.LauncherError, match="mpirun -x MASTER_ADDR"):
        read_place("mpi")


@pytest.mark.parametrize(
    ("launcher", "variables", "missing"),
    [
        ("pytorch", {}, "RANK, WORLD_SIZE, MASTER_ADDR"),
        ("slurm", {}, "SLURM_PROCID, SLURM_NTASKS"),
        ("mpi", {}, "OMPI_COMM_WORLD_RANK"),
        ("pytorch", _TORCHRUN | {"RANK": "4"}, "rank 4 of 4 ranks"),
        ("pytorch", _TORCHRUN | {"LOCAL_RANK": "2"}, "rank 2 on this machine of 2"),
        ("pytorch", _TORCHRUN | {"LOCAL_WORLD_SIZE": "8"}, "8 ranks on this machine of 4 in all"),
        ("pytorch", _TORCHRUN | {"MASTER_PORT": "99999"}, "port 99999.*MASTER_PORT"),
        ("pytorch", _TORCHRUN | {"MASTER_ADDR": ""}, "MASTER_ADDR not set"),
        ("pytorch", _TORCHRUN | {"WORLD_SIZE": "many"}, "WORLD_SIZE='many'"),
    ],
)
def test_missing_and_contradictory_variables_are_named(
    env: dict[str, str], launcher: str, variables: dict[str, str], missing: str
) -> None:
    env.update(variables)
    with pytest.raises(dist.LauncherError, match=f"(?s){missing}"):
        read_place(launcher)


def test_an_unknown_launcher_lists_the_known_ones(env: dict[str, str]) -> None:
    with pytest.raises(dist.LauncherError, match="mpi, pytorch, slurm"):
        dist.init_dist("horovod")


def test_a_backend_of_an_absent_device_is_refused_before_anybody_waits(
    env: dict[str, str],
) -> None:
    env.update(_TORCHRUN)
    with pytest.raises(dist.BackendError, match="'hccl' needs a npu device"):
        dist.init_dist("pytorch", backend="hccl")


def test_the_mpi_backend_is_refused_where_torch_has_none(env: dict[str, str]) -> None:
    env.update(_MPI)
    with pytest.raises(dist.BackendError, match="has no 'mpi' backend"):
        dist.init_dist("mpi", backend="mpi")


def _alone(env: dict[str, str], port: int) -> None:
    env.update(RANK="0", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_dist("pytorch", backend="gloo", timeout=1)


def test_a_rank_that_never_comes_is_an_error_after_the_timeout(env: dict[str, str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(dist.GroupError, match=f"rank 0 of 2 could not meet .*127.0.0.1:{port}"):
        _alone(env, port)
    assert not dist.is_distributed()


def test_a_port_in_use_is_named(env: dict[str, str]) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(dist.GroupError, match=rf"127.0.0.1:{port}(.|\n)*in use"):
            _alone(env, port)
    assert not dist.is_distributed()
