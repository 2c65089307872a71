"""What every strategy knows of its run: processes, seed, time stamp, folder and log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from drivetrain.dist._environment import collect_env
from drivetrain.dist._group import get_rank, get_world_size, is_distributed
from drivetrain.dist.strategy._session import Session
from drivetrain.logging import MMLogger

_Self = TypeVar("_Self", bound="Surroundings")


class Surroundings:
    """The run around a strategy, made by ``setup``, or when something of it is first asked for."""

    #: Whether this strategy works in a process group, and so needs a launcher.
    several_processes: bool = False

    def __init__(
        self,
        *,
        work_dir: str = "work_dirs",
        experiment_name: str | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        log_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self._session = Session(
            work_dir=work_dir,
            experiment_name=experiment_name,
            env_kwargs=env_kwargs,
            log_kwargs=log_kwargs,
        )

    def setup(self: _Self) -> _Self:
        """Join the other processes, seed, make the log folder and open the log; once."""
        self._session.start(
            several_processes=self.several_processes, ranks_per_batch=self._ranks_per_batch
        )
        return self

    def _ranks_per_batch(self) -> int:
        """How many neighbouring ranks work on one batch; asked when there is a process group."""
        return 1

    def set_randomness(
        self, seed: int | None = None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed all generators of this process; without a seed with a fresh one, shared by all."""
        self.setup()._session.set_randomness(seed, diff_rank_seed, deterministic)

    @property
    def work_dir(self) -> str:
        """Absolute path of the folder of all runs."""
        return self._session.work_dir

    @property
    def log_dir(self) -> str:
        """Absolute path of this run's folder, ``work_dir/<timestamp>``."""
        return self.setup()._session.log_dir

    @property
    def logger(self) -> MMLogger:
        """Log of this run."""
        return self.setup()._session.logger

    @property
    def experiment_name(self) -> str:
        """Name of the experiment and the time stamp."""
        return self.setup()._session.experiment_name

    @property
    def timestamp(self) -> str:
        """When the run started on rank 0, as ``YYYYMMDD_HHMMSS``; equal on all ranks."""
        return self.setup()._session.timestamp

    @property
    def seed(self) -> int:
        """The seed of the run, equal on all ranks."""
        return self.setup()._session.seed

    @property
    def deterministic(self) -> bool:
        """Whether deterministic algorithms are asked for."""
        return bool(self._session.randomness.get("deterministic", False))

    @property
    def diff_rank_seed(self) -> bool:
        """Whether ranks draw different random numbers."""
        return bool(self._session.randomness.get("diff_rank_seed", False))

    @property
    def launcher(self) -> str:
        """``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``."""
        return self.setup()._session.launcher or "none"

    @property
    def distributed(self) -> bool:
        """Whether there is a process group."""
        self.setup()
        return self.several_processes and is_distributed()

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return get_rank() if self.distributed else 0

    @property
    def world_size(self) -> int:
        """Number of processes that train together."""
        return get_world_size() if self.distributed else 1

    def collect_env(self) -> tuple[dict[str, str], dict[str, Any]]:
        """The system that the run is on, and the settings that it runs with."""
        runtime = {
            **{key: value for key, value in self._session.env.items() if key != "randomness"},
            **self._session.randomness,
            "seed": self.seed,
            "launcher": self.launcher,
            "Distributed training": self.distributed,
            "Number of processes": self.world_size,
        }
        return collect_env(), runtime
