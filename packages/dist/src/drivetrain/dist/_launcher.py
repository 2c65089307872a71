"""From what a launcher left in the environment to the place of this process among the others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from drivetrain.dist._errors import LauncherError

_DEFAULT_PORT = 29500
_LAST_PORT = 65535


@dataclass(frozen=True)
class Place:
    """Where one process stands in a job, and where its ranks meet."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int | None
    master_addr: str
    master_port: int

    def export(self) -> None:
        """Write the place into the environment, under the names that torch reads."""
        os.environ["RANK"] = str(self.rank)
        os.environ["WORLD_SIZE"] = str(self.world_size)
        os.environ["LOCAL_RANK"] = str(self.local_rank)
        if self.local_world_size is not None:
            os.environ["LOCAL_WORLD_SIZE"] = str(self.local_world_size)
        os.environ["MASTER_ADDR"] = self.master_addr
        os.environ["MASTER_PORT"] = str(self.master_port)


def infer_launcher() -> str:
    """The launcher that started this process, from the variables that it set.

    Returns:
        ``'pytorch'`` (torchrun, or anything that sets ``RANK`` and ``WORLD_SIZE``), ``'slurm'``,
        ``'mpi'``, or ``'none'``. torchrun wins over the scheduler in whose job it runs.
    """
    env = os.environ
    if "WORLD_SIZE" in env and ("RANK" in env or "LOCAL_RANK" in env):
        return "pytorch"
    # A batch script has the job's variables but is one process; only srun's steps are tasks.
    if "SLURM_NTASKS" in env and ("SLURM_STEP_ID" in env or "SLURM_JOB_ID" not in env):
        return "slurm"
    if "OMPI_COMM_WORLD_LOCAL_RANK" in env:
        return "mpi"
    return "none"


def read_place(launcher: str, port: int | None = None) -> Place:
    """The place that ``launcher`` gave to this process.

    Args:
        launcher: ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        port: Where rank 0 listens; ``MASTER_PORT`` by default, else one of our choice.

    Raises:
        LauncherError: If the launcher is unknown, or its variables are missing or contradictory.
    """
    readers = {"pytorch": _read_pytorch, "slurm": _read_slurm, "mpi": _read_mpi}
    if launcher not in readers:
        raise LauncherError(
            f"init_dist: unknown launcher {launcher!r}.\n"
            f"  Known:  {', '.join(sorted(readers))}; 'none' needs no init_dist."
        )
    place = readers[launcher](os.environ, port)
    impossible = _contradiction(place)
    if impossible is not None:
        raise LauncherError(
            f"launcher {launcher!r}: {impossible} cannot be.\n"
            "  Do:  look for variables left over from another job in this environment."
        )
    # 0 is no place to meet, but ranks that bring a store of their own need none.
    if not 0 <= place.master_port <= _LAST_PORT:
        raise LauncherError(
            f"launcher {launcher!r}: port {place.master_port}, where the ranks meet, is not one.\n"
            f"  Do:  set MASTER_PORT to a number from 1 to {_LAST_PORT}, the same on all ranks."
        )
    return place


def _contradiction(place: Place) -> str | None:
    """Which numbers of ``place`` exclude each other; ``None`` if all of them can be true."""
    if not 0 <= place.rank < place.world_size:
        return f"rank {place.rank} of {place.world_size} ranks"
    local_size = place.local_world_size
    if local_size is not None and local_size > place.world_size:
        return f"{local_size} ranks on this machine of {place.world_size} in all"
    limit = place.world_size if local_size is None else local_size
    if not 0 <= place.local_rank < limit:
        return f"rank {place.local_rank} on this machine of {limit}"
    return None


def _read_pytorch(env: Mapping[str, str], port: int | None) -> Place:
    hint = "Do:  start with torchrun, or set launcher='none' to run as one process."
    _require(env, "pytorch", ("RANK", "WORLD_SIZE", "MASTER_ADDR"), hint)
    if port is None:
        _require(env, "pytorch", ("MASTER_PORT",), hint)
    world_size = _integer(env, "WORLD_SIZE")
    return Place(
        rank=_integer(env, "RANK"),
        world_size=world_size,
        local_rank=_integer(env, "LOCAL_RANK", 0),
        local_world_size=_integer(env, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in env else None,
        master_addr=env["MASTER_ADDR"],
        master_port=_integer(env, "MASTER_PORT") if port is None else port,
    )


def _read_slurm(env: Mapping[str, str], port: int | None) -> Place:
    hint = "Do:  start the processes with srun, or set launcher='none' to run as one process."
    _require(env, "slurm", ("SLURM_PROCID", "SLURM_NTASKS"), hint)
    if not env.get("MASTER_ADDR"):
        _require(env, "slurm", ("SLURM_NODELIST",), "Do:  set MASTER_ADDR to rank 0's address.")
    return Place(
        rank=_integer(env, "SLURM_PROCID"),
        world_size=_integer(env, "SLURM_NTASKS"),
        local_rank=_integer(env, "SLURM_LOCALID", 0),
        local_world_size=_tasks_on_this_node(env),
        master_addr=env.get("MASTER_ADDR") or _first_host(env["SLURM_NODELIST"]),
        master_port=_port(env, port, job_id=_integer(env, "SLURM_JOB_ID", 0)),
    )


def _read_mpi(env: Mapping[str, str], port: int | None) -> Place:
    prefix = "OMPI_COMM_WORLD_"
    names = tuple(prefix + name for name in ("RANK", "SIZE", "LOCAL_RANK"))
    _require(env, "mpi", names, "Do:  start the processes with Open MPI's mpirun.")
    world_size = _integer(env, prefix + "SIZE")
    local_size = _integer(env, prefix + "LOCAL_SIZE", 0) or None
    if not env.get("MASTER_ADDR") and local_size != world_size:
        raise LauncherError(
            "launcher 'mpi': MASTER_ADDR is not set, and the ranks are on several machines.\n"
            "  Do:  mpirun -x MASTER_ADDR=<address of rank 0> ..."
        )
    return Place(
        rank=_integer(env, prefix + "RANK"),
        world_size=world_size,
        local_rank=_integer(env, prefix + "LOCAL_RANK"),
        local_world_size=local_size,
        master_addr=env.get("MASTER_ADDR") or "127.0.0.1",
        master_port=_port(env, port, job_id=0),
    )


def _require(env: Mapping[str, str], launcher: str, names: tuple[str, ...], hint: str) -> None:
    missing = [name for name in names if not env.get(name)]  # torch, too, takes empty for not set
    if missing:
        raise LauncherError(
            f"launcher {launcher!r}: {', '.join(missing)} not set in the environment.\n  {hint}"
        )


def _integer(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    value = env.get(name)
    if value is None and default is not None:
        return default
    try:
        return int(value or "")
    except ValueError as err:
        raise LauncherError(f"{name}={value!r} in the environment is not a number.") from err


def _port(env: Mapping[str, str], port: int | None, job_id: int) -> int:
    if port is not None:
        return port
    if env.get("MASTER_PORT"):
        return _integer(env, "MASTER_PORT")
    # Jobs that share a machine must not meet at one port; every rank computes the same.
    return _DEFAULT_PORT + job_id % 10_000


def _tasks_on_this_node(env: Mapping[str, str]) -> int | None:
    """Read ``SLURM_TASKS_PER_NODE``, which reads ``2(x3),1``: 2 on three nodes, 1 on the next."""
    counts: list[int] = []
    for part in env.get("SLURM_STEP_TASKS_PER_NODE", env.get("SLURM_TASKS_PER_NODE", "")).split(
        ","
    ):
        count, _, repeat = part.partition("(x")
        if count.isdigit():
            counts += [int(count)] * int(repeat.rstrip(")") or 1)
    node = _integer(env, "SLURM_NODEID", 0)
    return counts[node] if node < len(counts) else None


def _first_host(node_list: str) -> str:
    """First name of a Slurm node list, which only Slurm's own tool expands in all its forms."""
    try:
        listed = subprocess.run(
            ["scontrol", "show", "hostname", node_list], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as err:
        raise LauncherError(
            f"launcher 'slurm': cannot expand SLURM_NODELIST={node_list!r} with scontrol.\n"
            "  Do:  set MASTER_ADDR to the address of rank 0's machine."
        ) from err
    return listed.stdout.split()[0]
