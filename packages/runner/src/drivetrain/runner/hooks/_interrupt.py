"""Stopping at a step border when a signal asks for it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from drivetrain.dist import all_reduce, is_distributed
from drivetrain.registry import HOOKS
from drivetrain.runner._errors import Preempted, TrainingInterrupted
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


class SignalHook(Hook):
    """What hooks that stop training on a signal share: the flag, the agreement, the checkpoint.

    The handler only sets a flag; the training is saved whole and goes on with ``resume=True``.

    Ranks may receive a signal at different steps, or one of them alone. They compare their flags
    every ``agree_every_iters`` iterations, so that all stop at the same one.

    Args:
        signals: Names of the signals to listen to.
        agree_every_iters: Iterations between two comparisons among ranks; a single process looks
            at its flag at every iteration.
    """

    priority = "LOWEST"
    #: What the log says when a signal arrives, after the signal's name.
    _announcement: ClassVar[str]

    def __init__(self, signals: Sequence[str], agree_every_iters: int) -> None:
        owner = type(self).__name__
        names = [signals] if isinstance(signals, str) else list(signals)
        unknown = [name for name in names if not hasattr(signal, name)]
        if unknown:
            raise ValueError(f"{owner}: this system has no signal {', '.join(unknown)}")
        if agree_every_iters < 1:
            raise ValueError(f"{owner}: agree_every_iters is at least 1, got {agree_every_iters}")
        self._signals = [getattr(signal, name) for name in names]
        self._agree_every_iters = agree_every_iters
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def before_train(self, runner: Engine) -> None:
        """Listen from here on; a signal that another hook of this kind has stays with it."""
        self._logger = runner.logger
        self._received = None
        for signum in self._signals:
            current = getattr(signal.getsignal(signum), "__self__", None)
            if not isinstance(current, SignalHook):
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
        if self._received is None:
            self._received = signum
            self._logger.warning(f"{signal.Signals(signum).name}: {self._announcement}")
        else:
            self._on_repeated(signum)

    def _on_repeated(self, signum: int) -> None:
        """A further signal, while the step in progress is being finished."""

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
            self._stop(runner, self._received)

    def _stop(self, runner: Engine, signum: int) -> None:
        # While the checkpoint is written the handler stays: a repeated signal must not cut it off.
        path = runner.save_interrupted()
        self.close()
        raise self._ending(signum, path)

    def _ending(self, signum: int, checkpoint: str) -> TrainingInterrupted:
        return TrainingInterrupted(signum, checkpoint)


@HOOKS.register_module()
class InterruptHook(SignalHook):
    """On a signal, finish the step, save a checkpoint, and raise ``TrainingInterrupted``.

    For a person at a terminal: a second signal stops at once, as Python would without this hook.

    Args:
        signals: Names of the signals to listen to.
        agree_every_iters: Iterations between two comparisons among ranks; a single process looks
            at its flag at every iteration.
    """

    _announcement = "stopping after this step; once more stops at once."

    def __init__(
        self, signals: Sequence[str] = ("SIGINT", "SIGTERM"), agree_every_iters: int = 10
    ) -> None:
        super().__init__(signals, agree_every_iters)

    def _on_repeated(self, signum: int) -> None:
        self.close()
        raise KeyboardInterrupt


@HOOKS.register_module()
class PreemptionHook(SignalHook):
    """When the scheduler wants the machine back, save at the step border and exit with 143.

    Slurm, Kubernetes and the clouds send ``SIGTERM``, or a signal of one's choice
    (``sbatch --signal=USR1@120``), some time before they kill. The step in progress is finished,
    a checkpoint is written, and :class:`~drivetrain.runner.Preempted` ends the process with exit
    code 143, by which a scheduler knows that the job is to be queued again. Run again with
    ``resume=True`` (``drivetrain train … --resume``), it goes on bit for bit.

    Schedulers repeat themselves: further signals are ignored while the state is written.

    Args:
        signals: Names of the signals to listen to.
        agree_every_iters: Iterations between two comparisons among ranks, which all stop at the
            same step, whichever of them got the signal. It has to come round, and the checkpoint to
            be written, within the time that the scheduler grants.
        exit_code: Exit code of the process.
    """

    _announcement = "preempted; the state will be saved after this step."

    def __init__(
        self,
        signals: Sequence[str] = ("SIGTERM", "SIGUSR1"),
        agree_every_iters: int = 10,
        exit_code: int = Preempted.EXIT_CODE,
    ) -> None:
        super().__init__(signals, agree_every_iters)
        self._exit_code = exit_code

    def _ending(self, signum: int, checkpoint: str) -> Preempted:
        ending = Preempted(signum, checkpoint, self._exit_code)
        self._logger.warning(f"{ending}. Resume to go on from there.")
        return ending
