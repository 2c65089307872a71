"""What surrounds a run: its processes, seed, time stamp, log folder and logger."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from drivetrain.dist._agreement import check_agreement, check_same_code
from drivetrain.dist._data_share import share_data
from drivetrain.dist._device import get_device
from drivetrain.dist._environment import raise_file_limit, set_multi_processing
from drivetrain.dist._errors import StrategyConfigError, WorkDirError
from drivetrain.dist._group import is_distributed
from drivetrain.dist._launcher import infer_launcher
from drivetrain.dist._objects import broadcast_object, run_on_all, run_on_main
from drivetrain.dist._process_group import init_dist
from drivetrain.dist._randomness import set_random_seed
from drivetrain.logging import MMLogger

_ENV_KEYS = (
    "launcher",
    "cudnn_benchmark",
    "mp_cfg",
    "dist_cfg",
    "resource_limit",
    "randomness",
)
_RANDOMNESS_KEYS = ("seed", "diff_rank_seed", "deterministic")
_MP_KEYS = ("mp_start_method", "opencv_num_threads")
_DEFAULT_FILE_LIMIT = 4096


class Session:
    """The surroundings of one run, made once by ``start``."""

    def __init__(
        self,
        *,
        work_dir: str,
        experiment_name: str | None,
        env_kwargs: Mapping[str, Any] | None,
        log_kwargs: Mapping[str, Any] | None,
    ) -> None:
        self.work_dir = os.path.abspath(os.path.expanduser(work_dir))
        self.env = dict(env_kwargs or {})
        self.log = dict(log_kwargs or {})
        check_keys("env_kwargs", self.env, _ENV_KEYS)
        check_keys("env_kwargs.randomness", self.env.get("randomness") or {}, _RANDOMNESS_KEYS)
        check_keys("env_kwargs.mp_cfg", self.env.get("mp_cfg") or {}, _MP_KEYS)
        self.randomness = dict(self.env.get("randomness") or {})
        self.started = False
        self._name = experiment_name
        self.launcher: str | None = self.env.get("launcher")
        self.timestamp = ""
        self.experiment_name = ""
        self.log_dir = ""
        self.seed = 0
        self.logger: MMLogger

    def start(
        self, *, several_processes: bool, ranks_per_batch: Callable[[], int] = lambda: 1
    ) -> None:
        """Set up the process, join the others, and open the log; once.

        Args:
            several_processes: Whether the strategy works in a process group.
            ranks_per_batch: Asked, in that group, how many neighbouring ranks work on one batch.
        """
        if self.started:
            return
        self._set_up_process(several_processes)
        self._join(several_processes)
        if several_processes:
            check_same_code()
            check_agreement(self._facts())
        share_data(ranks_per_batch())
        self.timestamp = broadcast_object(run_on_main(self._claim_timestamp)) or ""
        self.experiment_name = self._name_at(self.timestamp)
        self.set_randomness(**self.randomness)
        self._open_log()
        self.started = True

    def set_randomness(
        self, seed: int | None = None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed all generators of this process; without a seed with a fresh one, shared by all."""
        self.deterministic = deterministic
        self.diff_rank_seed = diff_rank_seed
        self.seed = set_random_seed(seed, deterministic, diff_rank_seed)

    def _set_up_process(self, several_processes: bool) -> None:
        # Deterministic wins over benchmark: it is switched on later, and switches this off.
        if "cudnn_benchmark" in self.env:
            torch.backends.cudnn.benchmark = bool(self.env["cudnn_benchmark"])
        if self.env.get("mp_cfg") is not None:
            set_multi_processing(**self.env["mp_cfg"], distributed=several_processes)
        raise_file_limit(int(self.env.get("resource_limit", _DEFAULT_FILE_LIMIT)))

    def _join(self, several_processes: bool) -> None:
        if not several_processes:
            self.launcher = "none"
            return
        if self.launcher is None:
            self.launcher = infer_launcher()
        if is_distributed():  # by the program itself, before
            return
        if self.launcher == "none":
            raise StrategyConfigError(
                "This strategy works in several processes, but nothing launched them.\n"
                "  Do:  start with torchrun (or drivetrain train --launch N), or use "
                "SingleDeviceStrategy."
            )
        init_dist(self.launcher, **(self.env.get("dist_cfg") or {}))

    def _facts(self) -> dict[str, object]:
        """What must be equal on all ranks for them to train one model."""
        return {
            "randomness": self.randomness,
            "experiment_name": self._name,
            "device": get_device(),
        }

    def _claim_timestamp(self) -> str:
        """Make the log folder of this second, or of the next one that no other run has taken."""
        self._make(self.work_dir, exist_ok=True)
        seconds = int(time.time())
        while True:
            stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(seconds))
            seconds += 1
            if MMLogger.check_instance_created(self._name_at(stamp)):
                continue
            if self._make(os.path.join(self.work_dir, stamp)):
                return stamp

    def _make(self, folder: str, exist_ok: bool = False) -> bool:
        """Make a folder; say False if it is there and may not be."""
        try:
            os.makedirs(folder, exist_ok=exist_ok)
        except OSError as err:
            if isinstance(err, FileExistsError) and os.path.isdir(folder):
                return False
            raise WorkDirError(
                f"work_dir {self.work_dir!r} cannot be used: {err.strerror} ({err.filename}).\n"
                "  Do:  name a folder that this user may write to."
            ) from err
        return True

    def _name_at(self, stamp: str) -> str:
        return f"{self._name}_{stamp}" if self._name else stamp

    def _open_log(self) -> None:
        self.log_dir = os.path.join(self.work_dir, self.timestamp)
        # On every rank, not only on the one that claimed it: machines need not share a disk.
        run_on_all(lambda: os.makedirs(self.log_dir, exist_ok=True))
        options = {
            "name": self.experiment_name,
            "file_mode": "a",
            "log_file": os.path.join(self.log_dir, f"{self.timestamp}.log"),
            **{key: value for key, value in self.log.items() if value is not None},
        }
        self.logger = MMLogger.get_instance(**options)


def check_keys(where: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse keys of a setting that nobody reads; offer the nearest that somebody does."""
    if not isinstance(given, Mapping):
        raise StrategyConfigError(f"{where} is a dict of {', '.join(known)}; got {given!r}")
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"\n  Did you mean:  {near[0]!r}" if near else ""
            raise StrategyConfigError(
                f"{where}: unknown key {key!r}.{hint}\n  Known:         {', '.join(known)}"
            )
