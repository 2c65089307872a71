"""What every loop has: a runner and a data loader."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from drivetrain.runner._errors import RunnerConfigError

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


def length_of(dataloader: DataLoader) -> int | None:
    """Number of batches of a pass; ``None`` where the data has no length."""
    try:
        return len(dataloader)
    except TypeError:  # an iterable dataset
        return None


def batches_of(stage: str, dataloader: DataLoader) -> int:
    """Number of batches of the loader of ``stage``.

    Raises:
        RunnerConfigError: If the data has no length.
    """
    try:
        return len(dataloader)
    except TypeError as err:
        remedy = ", or train by iterations (train_cfg: by_epoch=False)" if stage == "train" else ""
        raise RunnerConfigError(
            f"{stage}_dataloader: a pass over {type(dataloader.dataset).__name__} has no known "
            f"end.\n  Give the dataset a __len__{remedy}."
        ) from err


class BaseLoop(metaclass=ABCMeta):
    """A way to go through data; subclasses write ``run``.

    Args:
        runner: The runner that the loop belongs to.
        dataloader: A loader, or the config of one.
    """

    def __init__(self, runner: Engine, dataloader: DataLoader | dict[str, Any]) -> None:
        self._runner = runner
        if isinstance(dataloader, dict):
            dataloader = runner.build_dataloader(
                dataloader, seed=runner.seed, diff_rank_seed=runner.diff_rank_seed
            )
        self.dataloader = dataloader

    @property
    def runner(self) -> Engine:
        """The runner that the loop belongs to."""
        return self._runner

    @abstractmethod
    def run(self) -> Any:
        """Go through the data."""
