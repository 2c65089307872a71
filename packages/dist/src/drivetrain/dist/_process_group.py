"""Joining the other ranks at the start, and leaving them in order at the end."""

from __future__ import annotations

import atexit
import os
import sys
import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as torch_dist
from torch.distributed import PrefixStore, Store, TCPStore
from torch.distributed.constants import default_pg_timeout

from drivetrain.dist._bell import FailureBell, hang_bell
from drivetrain.dist._device import get_device
from drivetrain.dist._errors import BackendError, GroupError
from drivetrain.dist._failure import record_uncaught_errors
from drivetrain.dist._group import is_distributed
from drivetrain.dist._heartbeat import end_watch, prepare_watch
from drivetrain.dist._launcher import Place, read_place

_BEST_BACKENDS = {
    "cuda": "nccl",
    "npu": "hccl",
    "mlu": "cncl",
    "musa": "mccl",
    "xpu": "xccl",
}
# Ranks need a while to find out who is to blame, before the waiting ones give up.
_HANG_SHARE = 0.75
_LAST_BREATH_S = 0.1


def init_dist(
    launcher: str, backend: str | None = None, init_backend: str = "torch", **kwargs: Any
) -> None:
    """Join the process group of the job that ``launcher`` started.

    Sets the variables that torch reads, selects this rank's accelerator, and leaves the group in
    order when the program ends.

    Args:
        launcher: ``'pytorch'`` (torchrun), ``'slurm'`` or ``'mpi'``.
        backend: ``'nccl'``, ``'gloo'``, ``'mpi'``, ...; by default the best for the device found.
        init_backend: Library that makes the group; ``'torch'``.
        **kwargs: Passed to ``torch.distributed.init_process_group``. ``timeout`` may be a number
            of seconds; ``port`` is where rank 0 listens, ``MASTER_PORT`` by default.
            ``hang_timeout``: seconds that a rank may stand still while others wait for it, before
            it is named with its phase and stack and the ranks end; 0 for never. By default
            three quarters of ``timeout``: the reason is told before the others give up. It counts
            from the first ``beat``, which the engine's loops make.

    Raises:
        LauncherError: If the launcher's variables are missing or contradictory.
        BackendError: If the backend cannot work here.
        GroupError: If this process is in a group already, or the ranks cannot meet.
    """
    if init_backend != "torch":
        raise BackendError(f"init_dist: init_backend must be 'torch', got {init_backend!r}.")
    if is_distributed():
        raise GroupError("init_dist: this process is in a process group already.")
    place = read_place(launcher, kwargs.pop("port", None))
    place.export()
    backend = _checked_backend(backend)
    _select_device(place.local_rank)
    record_uncaught_errors()
    hang_timeout_s = kwargs.pop("hang_timeout", None)
    _join(place, backend, kwargs)
    if "store" not in kwargs and "init_method" not in kwargs:
        _keep_in_touch(place, kwargs.get("timeout", default_pg_timeout), hang_timeout_s)
    atexit.register(_leave_at_exit)


def leave_dist() -> None:
    """Leave the process group; nothing without one.

    After an uncaught exception the group is left to the operating system: saying goodbye to ranks
    that wait for this one in a collective could hang.
    """
    if is_distributed() and getattr(sys, "last_value", None) is None:
        end_watch()
        hang_bell(None)
        torch_dist.destroy_process_group()


def _leave_at_exit() -> None:
    end_watch()  # also after an error
    leave_dist()
    # A thread of gloo may still be about to let go of what the last collective used. If it asks for
    # Python's lock once the interpreter is ending, it is cut off, and C++ aborts the whole process.
    # Here it can have the lock.
    time.sleep(_LAST_BREATH_S)


def _checked_backend(backend: str | None) -> str:
    device_type = get_device()
    if backend is None:
        return _BEST_BACKENDS.get(device_type, "gloo")
    needed = next((kind for kind, name in _BEST_BACKENDS.items() if name == backend), None)
    if needed is not None and needed != device_type:
        raise BackendError(
            f"init_dist: backend {backend!r} needs a {needed} device, found {device_type!r}.\n"
            "  Do:  leave dist_cfg.backend out to take the best one for the device, or say 'gloo'."
        )
    if backend == "mpi" and not torch_dist.is_mpi_available():
        raise BackendError(
            "init_dist: this build of torch has no 'mpi' backend.\n"
            "  Do:  keep launcher='mpi', and leave the backend out (or say 'gloo')."
        )
    return backend


def _select_device(local_rank: int) -> None:
    device_type = get_device()
    module = getattr(torch, device_type, None)
    if device_type in ("cpu", "mps") or module is None:
        return
    # Modulo: schedulers may show each task only its own device, which then is number 0.
    module.set_device(local_rank % module.device_count())


def _join(place: Place, backend: str, options: dict[str, Any]) -> None:
    timeout = options.get("timeout")
    if timeout is not None and not isinstance(timeout, timedelta):
        options["timeout"] = timedelta(seconds=timeout)
    arguments = dict(options)
    if "store" not in options and "init_method" not in options:
        store = _attempt_store(place, options.get("timeout"))
        if store is not None:
            arguments["store"] = store
    if "store" in arguments:
        arguments.setdefault("rank", place.rank)
        arguments.setdefault("world_size", place.world_size)
    try:
        torch_dist.init_process_group(backend=backend, **arguments)
    except (RuntimeError, torch_dist.DistError) as err:
        raise GroupError(
            f"init_dist: rank {place.rank} of {place.world_size} could not meet the others at "
            f"{place.master_addr}:{place.master_port} ({backend}).\n  Cause:  {err}"
        ) from err


def _keep_in_touch(place: Place, timeout: timedelta, hang_timeout_s: float | None) -> None:
    """Connect this rank once more to the store of all ranks, for failures and signs of life."""
    store = _client(place, timeout)
    hang_bell(FailureBell(store, place.rank))
    if hang_timeout_s is None:
        hang_timeout_s = _HANG_SHARE * timeout.total_seconds()
    prepare_watch(store, place.rank, place.world_size, hang_timeout_s)


def _attempt_store(place: Place, timeout: timedelta | None) -> Store | None:
    """The elastic agent's store, where the ranks meet in one; ``None`` where rank 0 makes one."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    return _client(place, timeout or default_pg_timeout)


def _client(place: Place, timeout: timedelta) -> Store:
    """A connection to the store of all ranks, with a view that no earlier attempt has written to.

    The agent keeps one store over restarts, and torch 2.13 puts the ranks of each attempt into it
    under the same keys: a restarted rank then reads the address of a dead one, and the group
    cannot form (https://github.com/pytorch/pytorch/issues/135712). Remove when fixed in the
    oldest torch that we support.
    """
    store = TCPStore(place.master_addr, place.master_port, is_master=False, timeout=timeout)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    run = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return PrefixStore(f"drivetrain/{run}/attempt_{attempt}", store)
