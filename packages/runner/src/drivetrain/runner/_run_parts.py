"""The pieces of a run: loops, their data, and what else is built from configs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader

from drivetrain.dataset import build_dataloader
from drivetrain.evaluator import Evaluator, build_evaluator
from drivetrain.logging import MessageHub, MMLogger
from drivetrain.runner import _builders
from drivetrain.runner._base_loop import BaseLoop
from drivetrain.runner._errors import MissingPartError
from drivetrain.runner._log_processor import LogProcessor
from drivetrain.runner._run_facts import is_built
from drivetrain.runner._run_state import RunState
from drivetrain.runner._stage_parts import STAGE_PARTS
from drivetrain.visualization import Visualizer


class RunParts(RunState):
    """Builds the pieces of a run when they are needed."""

    _train_dataloader: Any
    _val_dataloader: Any
    _test_dataloader: Any
    _val_evaluator: Any
    _test_evaluator: Any

    @property
    def train_loop(self) -> Any:
        """The training loop."""
        if not is_built(self._train_loop):
            self._require("train")
            self._train_loop = self.build_train_loop(self._train_loop)
        return self._train_loop

    @property
    def val_loop(self) -> Any:
        """The validation loop, or None where there is no validation."""
        if self._val_loop is None:
            return None
        if not is_built(self._val_loop):
            self._val_loop = self.build_val_loop(self._val_loop)
        return self._val_loop

    @property
    def test_loop(self) -> Any:
        """The test loop, or None where there is no test."""
        if self._test_loop is None:
            return None
        if not is_built(self._test_loop):
            self._test_loop = self.build_test_loop(self._test_loop)
        return self._test_loop

    @property
    def train_dataloader(self) -> DataLoader:
        """The loader of the training data."""
        return self.train_loop.dataloader

    @property
    def val_dataloader(self) -> DataLoader:
        """The loader of the validation data."""
        return self.val_loop.dataloader

    @property
    def test_dataloader(self) -> DataLoader:
        """The loader of the test data."""
        return self.test_loop.dataloader

    @property
    def val_evaluator(self) -> Evaluator:
        """The evaluator of the validation."""
        return self.val_loop.evaluator

    @property
    def test_evaluator(self) -> Evaluator:
        """The evaluator of the test."""
        return self.test_loop.evaluator

    #: What the arguments say about processes, devices and limits.
    _env_cfg: dict[str, Any] | None = None

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Join the other processes, seed, make the log folder and open the log.

        Called when the runner is made; a subclass may do more before or after it.

        Args:
            env_cfg: What the runner was given; its strategy has it already.
        """
        self.strategy.setup()

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed all random generators of this process.

        Args:
            seed: The seed; None draws one, the same on all ranks.
            diff_rank_seed: Add the rank to it.
            deterministic: Use deterministic algorithms only.
        """
        self.strategy.set_randomness(seed, diff_rank_seed, deterministic)

    def build_logger(
        self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: Any
    ) -> MMLogger:
        """A logger for this run, besides the one that it has.

        Args:
            log_level: Lowest level that is logged.
            log_file: Path of a file; by default one in the folder of the run's logs.
            **kwargs: Further arguments of ``MMLogger``.
        """
        path = log_file or os.path.join(self.log_dir, f"{self.timestamp}.log")
        node = {"name": self._instance_name(MMLogger), "file_mode": "a", **kwargs}
        return MMLogger.get_instance(log_file=path, log_level=log_level, **node)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any],
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """A loader from itself or from a config; see ``drivetrain.dataset.build_dataloader``."""
        return build_dataloader(dataloader, seed=seed, diff_rank_seed=diff_rank_seed)

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """An evaluator from itself, from metrics, or from a config."""
        return build_evaluator(evaluator)

    def build_train_loop(self, loop: BaseLoop | Mapping[str, Any]) -> BaseLoop:
        """A training loop from itself or from a config."""
        return _builders.build_train_loop(loop, self, self._train_dataloader)

    def build_val_loop(self, loop: BaseLoop | Mapping[str, Any]) -> BaseLoop:
        """A validation loop from itself or from a config."""
        return _builders.build_eval_loop(
            "val", loop, self, self._val_dataloader, self._val_evaluator
        )

    def build_test_loop(self, loop: BaseLoop | Mapping[str, Any]) -> BaseLoop:
        """A test loop from itself or from a config."""
        return _builders.build_eval_loop(
            "test", loop, self, self._test_dataloader, self._test_evaluator
        )

    def build_log_processor(
        self, log_processor: LogProcessor | dict[str, Any] | None
    ) -> LogProcessor:
        """A log processor from itself or from a config."""
        return _builders.build_log_processor(log_processor)

    def build_visualizer(self, visualizer: Visualizer | dict[str, Any] | None = None) -> Visualizer:
        """A visualizer from itself or from a config; by default one that writes local files."""
        return _builders.build_visualizer(
            visualizer, self._instance_name(Visualizer), str(self.log_dir)
        )

    def build_message_hub(self, message_hub: dict[str, Any] | None = None) -> MessageHub:
        """The message hub of the run."""
        node = {"name": self._instance_name(MessageHub), **(message_hub or {})}
        return MessageHub.get_instance(**node)

    def _instance_name(self, kind: Any) -> str:
        """A name for a global instance that no earlier run of this process has taken."""
        name, count = self.experiment_name, 1
        while kind.check_instance_created(name):
            count += 1
            name = f"{self.experiment_name}_{count}"
        return name

    def _require(self, stage: str) -> None:
        if getattr(self, f"_{stage}_loop") is None:
            names = ", ".join(STAGE_PARTS[stage])
            raise MissingPartError(f"{stage}() needs {names}; this runner was built without them")
