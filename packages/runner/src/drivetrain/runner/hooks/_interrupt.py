"""Stopping at a step border when a signal asks for it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from drivetrain.dist import all_reduce, is_distributed
from drivetrain.registry import HOOKS
from drivetrain.runner._errors import TrainingInterrupted
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class InterruptHook(Hook):
    """On a signal, finish the step, save a checkpoint, and raise ``TrainingInterrupted``.

    The handler only sets a flag; the training is saved whole and goes on with ``resume=True``. A
    second signal of the same kind stops at once, as Python would without this hook.

    Ranks may receive a signal at different steps. They compare their flags every
    ``agree_every_iters`` iterations, so that all stop at the same one.

    Args:
        signals: Names of the signals to listen to.
        agree_every_iters: Iterations between two comparisons among ranks; a single process looks
            at its flag at every iteration.
    """

    priority = "LOWEST"

    def __init__(
        self, signals: Sequence[str] = ("SIGINT", "SIGTERM"), agree_every_iters: int = 10
    ) -> None:
        unknown = [name for name in signals if not hasattr(signal, name)]
        if unknown:
            raise ValueError(f"InterruptHook: this system has no signal {', '.join(unknown)}")
        self._signals = [getattr(signal, name) for name in signals]
        self._agree_every_iters = agree_every_iters
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def before_train(self, runner: Engine) -> None:
        """Listen from here on."""
        self._logger = runner.logger
        for signum in self._signals:
            self._previous[signum] = signal.signal(signum, self._on_signal)

    def after_train(self, runner: Engine) -> None:
        """Listen no longer."""
        self.close()

    def close(self) -> None:
        """Give the signals back to whoever handled them before."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous.clear()

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._received is not None:
            self.close()
            raise KeyboardInterrupt
        self._received = signum
        name = signal.Signals(signum).name
        self._logger.warning(f"{name}: stopping after this step; once more stops at once.")

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Stop here if a signal came and all ranks know of it."""
        if is_distributed():
            if (runner.iter + 1) % self._agree_every_iters:
                return
            flag = torch.tensor(self._received or 0)
            all_reduce(flag, op="max")
            self._received = int(flag) or None
        if self._received is not None:
            self._stop(runner)

    def _stop(self, runner: Engine) -> None:
        signum = self._received
        assert signum is not None
        path = runner.save_interrupted()
        self.close()
        raise TrainingInterrupted(signum, path)
