"""The process around a training: start method of workers, thread counts, limits, and a report."""

from __future__ import annotations

import multiprocessing
import os
import platform
import shutil
import subprocess
import sys

import torch

from drivetrain.dist.__about__ import __version__
from drivetrain.dist._device import get_device

_START_METHODS = (None, "fork", "spawn", "forkserver")


def set_multi_processing(
    mp_start_method: str | None = "fork", opencv_num_threads: int = 0, distributed: bool = False
) -> None:
    """Set how worker processes start and how many threads libraries use in them.

    Args:
        mp_start_method: ``'fork'``, ``'spawn'`` or ``'forkserver'``; ``None`` leaves it. Where the
            platform has no such method (Windows has no fork), its own is kept.
        opencv_num_threads: Threads of OpenCV, where the program uses it; loading workers run best
            with none of their own.
        distributed: Whether there are several ranks: ``OMP_NUM_THREADS`` and ``MKL_NUM_THREADS``
            are then set to 1 unless they are set, so that ranks do not crowd the machine.

    Raises:
        ValueError: If no platform has a method of that name.
    """
    if mp_start_method not in _START_METHODS:
        raise ValueError(
            f"mp_start_method is 'fork', 'spawn', 'forkserver' or None, got {mp_start_method!r}"
        )
    if mp_start_method in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method(mp_start_method, force=True)
    cv2 = sys.modules.get("cv2")  # only where the program uses it: importing it here is slow
    if cv2 is not None:
        cv2.setNumThreads(opencv_num_threads)
    if distributed:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("MKL_NUM_THREADS", "1")


def raise_file_limit(files: int) -> None:
    """Let this process open at least ``files`` files, or as many as the system allows it.

    Workers hand tensors over as open files. Nothing where the platform has no such limit.
    """
    if sys.platform == "win32":
        return
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(files, soft)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def collect_env() -> dict[str, str]:
    """Describe the software and hardware of this process, for the head of a log.

    Returns:
        Among others ``sys.platform``, ``Python``, ``CUDA available``, one ``GPU ...`` entry per
        model of device, ``GCC``, ``PyTorch``, ``PyTorch compiling details``, ``drivetrain``; and
        ``TorchVision`` and ``OpenCV`` where the program imported them.
    """
    env = {
        "sys.platform": sys.platform,
        "Python": sys.version.replace("\n", ""),
        "CUDA available": str(torch.cuda.is_available()),
        "Device": get_device(),
        **_cuda_devices(),
        "CPU cores": str(os.cpu_count()),
        "Machine": platform.machine(),
        "GCC": _gcc_version(),
        "PyTorch": torch.__version__,
        "PyTorch compiling details": torch.__config__.show(),
    }
    for title, module in (("TorchVision", "torchvision"), ("OpenCV", "cv2")):
        if module in sys.modules:
            env[title] = str(getattr(sys.modules[module], "__version__", "unknown"))
    env["drivetrain"] = __version__
    return env


def _cuda_devices() -> dict[str, str]:
    if not torch.cuda.is_available():
        return {}
    numbers: dict[str, list[str]] = {}
    for index in range(torch.cuda.device_count()):
        numbers.setdefault(torch.cuda.get_device_name(index), []).append(str(index))
    devices = {f"GPU {','.join(indices)}": name for name, indices in numbers.items()}
    return devices | {"CUDA": str(torch.version.cuda), "CUDA_HOME": os.environ.get("CUDA_HOME", "")}


def _gcc_version() -> str:
    gcc = shutil.which("gcc")
    if gcc is None:
        return "n/a"
    try:
        shown = subprocess.run([gcc, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "n/a"
    return shown.stdout.partition("\n")[0] or "n/a"
