"""Starting several processes on this machine, through torch's own elastic launcher."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from drivetrain.dist._errors import LauncherError

_SIGNAL_EXIT_BASE = 128
_SHUTDOWN_TIMEOUT_S = 120
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


def run_ranks(argv: Sequence[str], nproc: int, *, max_restarts: int = 0) -> int:
    """See ``launch``."""
    if nproc < 1:
        raise LauncherError(f"launch: nproc must be at least 1, got {nproc}.")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise LauncherError(
            "launch: this process was started by torchrun already.\n"
            "  Do:  use torchrun or the launch option, not both."
        )
    _prepare_environment(nproc)
    with tempfile.TemporaryDirectory(prefix="drivetrain-launch-") as log_dir:
        config = _launch_config(nproc, log_dir, max_restarts)
        _quiet_agent()
        try:
            elastic_launch(config, sys.executable)(*argv)
        except ChildFailedError as err:
            return _report(err)
        except SignalException as err:
            return _SIGNAL_EXIT_BASE + _ending_signal(err)
    return 0


def _ending_signal(err: SignalException) -> int:
    """The signal by which the ranks were ended; being asked to end soon counts as SIGTERM."""
    is_announcement = err.sigval == getattr(signal, "SIGUSR1", None)
    return int(signal.SIGTERM if is_announcement else err.sigval)


def _quiet_agent() -> None:
    """The agent logs each rank that it ends; what a person needs of that is in our report."""
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _prepare_environment(nproc: int) -> None:
    # The ranks meet in a store that the agent listens for already (_process_group._attempt_store).
    # Without it, torch picks a free port, lets go of it, and rank 0 takes it seconds later, when
    # any other process may have it.
    os.environ.pop("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", None)
    # All ranks are here; gloo would otherwise resolve this machine's name, which may not be known.
    if sys.platform in _LOOPBACK:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])
    threads = max(1, (os.cpu_count() or 1) // nproc)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def _launch_config(nproc: int, log_dir: str, max_restarts: int) -> LaunchConfig:
    quiet = dict.fromkeys(range(1, nproc), Std.ERR) if nproc > 1 else Std.NONE
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=nproc,
        logs_specs=DefaultLogsSpecs(log_dir=log_dir, redirects=quiet),
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=max_restarts,
        local_addr="localhost",
    )
    # An interrupted rank finishes its step and writes a checkpoint before it leaves. Older torch
    # has no such field and waits for 30 s.
    known = {field.name for field in dataclasses.fields(config)}
    if "shutdown_timeout" in known:
        config.shutdown_timeout = _SHUTDOWN_TIMEOUT_S
    # Schedulers may announce the end of a job by SIGUSR1: without this it kills the launcher alone.
    if "signals_to_handle" in known and hasattr(signal, "SIGUSR1"):
        config.signals_to_handle += ",SIGUSR1"
    return config


def _report(err: ChildFailedError) -> int:
    rank, failure = min(err.failures.items(), key=lambda item: _order(item[1]))
    code = failure.exitcode
    if code < 0:  # ended by the agent before it could leave with the code that it meant
        code = _recorded(failure).get("extraInfo", {}).get("exit_code", code)
    if failure.exitcode > _SIGNAL_EXIT_BASE and not _recorded(failure):
        return code  # it left by itself after a signal, and has said so
    how = f"exit code {code}" if code >= 0 else f"signal {-code} ({failure.signal_name()})"
    # Rank 0 writes to this terminal itself; what the others wrote lies in files.
    told = _recorded(failure).get("extraInfo", {}).get("is_shown", failure.exitcode >= 0)
    is_shown = rank == 0 and told
    text = "its error is above" if is_shown else _failure_text(failure)
    sys.stdout.flush()
    sys.stderr.write(f"\nrank {rank} failed first: {how}\n")
    if text:
        sys.stderr.write("\n".join("  " + line for line in text.splitlines()) + "\n")
    sys.stderr.flush()
    return code if code >= 0 else _SIGNAL_EXIT_BASE - code


def _order(failure: ProcessFailure) -> tuple[int, int]:
    """Who failed first: a rank that was killed cannot say when, but is why others fail.

    One that was terminated is not: that is how the agent ends the others.
    """
    extra = _recorded(failure).get("extraInfo", {})
    if "time_ns" in extra:  # a rank that was not the first may have left its record before it
        return (1 if extra["is_first"] else 3), extra["time_ns"]
    if failure.exitcode == -signal.SIGTERM:
        return 4, failure.timestamp
    return (0 if failure.exitcode < 0 else 2), failure.timestamp


def _recorded(failure: ProcessFailure) -> dict[str, Any]:
    """What the rank recorded of its failure; empty if it did not."""
    error_file = Path(failure.error_file)
    if not error_file.is_file():
        return {}
    message = json.loads(error_file.read_text(encoding="utf-8"))["message"]
    return message if isinstance(message, dict) else {"message": str(message)}


def _failure_text(failure: ProcessFailure) -> str:
    """The recorded traceback of a rank, else the end of what it wrote to its error stream."""
    recorded = _recorded(failure)
    if recorded:
        trace = recorded.get("extraInfo", {}).get("py_callstack")
        return str(trace or recorded.get("message", "")).rstrip()
    stream = Path(failure.error_file).with_name("stderr.log")
    if stream.is_file():
        return "\n".join(stream.read_text(errors="replace").splitlines()[-40:])
    return ""
