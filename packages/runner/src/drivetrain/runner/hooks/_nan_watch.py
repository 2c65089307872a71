"""Noticing losses and gradients that are not finite, and saying where they come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import torch
from torch import Tensor

from drivetrain.dataset import set_epoch, skip_batches
from drivetrain.dist import all_gather_object, all_reduce, is_distributed, is_model_wrapper
from drivetrain.registry import HOOKS
from drivetrain.runner._errors import NonFiniteError
from drivetrain.runner.hooks._hook import Batch, Hook
from drivetrain.runner.hooks._non_finite import NonFiniteSource, find_source
from drivetrain.runner.hooks._replay import precision_of, write_replay
from drivetrain.runner.hooks._step_state import (
    Buffers,
    RandomState,
    Snapshot,
    Step,
    rates_of,
    set_rates,
    wrappers_of,
)

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine

What = Literal["loss", "gradient"]


@HOOKS.register_module()
class NaNWatchHook(Hook):
    """Stop a training whose loss is NaN or infinite, and name the module and the batch.

    On a CPU each loss is looked at before backward: weights and optimizer stay untouched. On an
    accelerator nothing waits for the device: losses are kept there, and read in one transfer every
    ``interval`` iterations, where a log line is written anyway. A copy of model and optimizer from
    the last reading, and the batches since, lead back to the state right before the step that went
    wrong. Either way that step is then run again, without an update and with the same random
    numbers, watching what each module gives.

    The step is written into ``<work_dir>/nan_watch``; :func:`replay_step` runs it again on another
    day. All ranks stop together. A step that a loss scale skips because its gradients overflowed is
    no alarm: its loss is finite.

    Args:
        interval: Iterations between two readings on an accelerator; as many batches are kept.
        action: ``"raise"`` a :class:`~drivetrain.runner.NonFiniteError`, or ``"stop"``: log it, and
            end the training orderly with the weights from before the step.
        check_gradients: Look at gradients too, right before each update. It reads all of them once
            more; under a loss scale, which does so itself, it is off.
        keep_state: On an accelerator, keep the copy (memory: one more of model and optimizer).
            Without it the step is named, but may not be repeatable.

    Raises:
        ValueError: If ``interval`` or ``action`` makes no sense.
    """

    # Behind the log line, before a checkpoint is written.
    priority = 80

    def __init__(
        self,
        interval: int = 10,
        action: Literal["raise", "stop"] = "raise",
        check_gradients: bool = False,
        keep_state: bool = True,
    ) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(
                f"NaNWatchHook: interval is a number of iterations from 1 on, got {interval!r}"
            )
        if action not in ("raise", "stop"):
            raise ValueError(f"NaNWatchHook: action is 'raise' or 'stop', got {action!r}")
        self.interval = interval
        self.action = action
        self.check_gradients = check_gradients
        self.keep_state = keep_state
        self._steps: list[Step] = []
        self._random_state: RandomState | None = None
        self._snapshot: Snapshot | None = None
        self._undo: list[Callable[[], Any]] = []

    # ---------------------------------------------------------------- on and off

    def before_train(self, runner: Engine) -> None:
        """Find out where the model is, and watch accordingly."""
        self.close()
        self._runner = runner
        self._model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._wrappers = wrappers_of(runner.optim_wrapper)
        self._device = next((p.device for p in self._model.parameters()), torch.device("cpu"))
        # A compiled step must not be broken up by a look at its loss.
        self._at_once = self._device.type == "cpu" and not runner.cfg.get("compile", False)
        self._buffers = Buffers(self._model) if self._at_once else None
        if self._at_once:
            self._guard_steps(runner)
        if self.check_gradients:
            self._watch_gradients()
        self._open_window()

    def after_train(self, runner: Engine) -> None:
        """Watch no longer."""
        self.close()

    def close(self) -> None:
        """Undo what watching needed; also right after an error."""
        while self._undo:
            self._undo.pop()()
        self._steps, self._snapshot = [], None

    def _guard_steps(self, runner: Engine) -> None:
        for wrapper in self._wrappers:
            self._replace(wrapper, "backward", self._guarded_backward(wrapper.backward))
        self._replace(runner.model, "train_step", self._guarded_step(runner.model.train_step))

    def _replace(self, owner: Any, name: str, method: Callable[..., Any]) -> None:
        own = vars(owner).get(name)
        setattr(owner, name, method)
        self._undo.append(
            lambda: delattr(owner, name) if own is None else setattr(owner, name, own)
        )

    def _watch_gradients(self) -> None:
        for wrapper in self._wrappers:
            if not getattr(wrapper, "scales_loss", False):
                handle = wrapper.optimizer.register_step_pre_hook(self._before_update)
                self._undo.append(handle.remove)

    # ---------------------------------------------------------------- at each step

    def before_train_iter(self, runner: Engine, batch_idx: int, data_batch: Batch = None) -> None:
        """Keep what the step begins with."""
        if self._buffers is not None:
            self._buffers.keep()
            self._steps.clear()
        progress = runner.progress
        self._random_state = RandomState(self._device, self._random_state)
        self._steps.append(
            Step(
                iteration=progress.iter + 1,
                epoch=progress.epoch,
                batch_in_epoch=progress.batch_in_epoch,
                data_batch=data_batch,
                random_state=self._random_state,
                rates=rates_of(self._wrappers),
            )
        )

    def _guarded_backward(self, backward: Callable[..., None]) -> Callable[..., None]:
        def guarded(loss: Tensor, **kwargs: Any) -> None:
            if self._any_rank(not _is_finite(loss)):
                raise _RefusedStep("loss")
            backward(loss, **kwargs)

        return guarded

    def _guarded_step(self, train_step: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(data: Any, optim_wrapper: Any) -> Any:
            try:
                return train_step(data, optim_wrapper=optim_wrapper)
            except _RefusedStep as refused:
                self._alarm(refused.what, self._steps[-1])
                return {}

        return guarded

    def _before_update(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        groups = optimizer.param_groups
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        if not gradients or not self._steps:
            return
        norms = torch._foreach_norm(gradients, float("inf"))
        largest = torch.stack([norm.to(self._device, torch.float32) for norm in norms]).sum()
        if not self._at_once:
            self._keep("gradient", largest)
        elif self._any_rank(not bool(torch.isfinite(largest))):
            raise _RefusedStep("gradient")

    def _any_rank(self, flag: bool) -> bool:
        """Whether ``flag`` holds on any rank: what one refuses, all refuse."""
        self._here = flag
        if not is_distributed():
            return flag
        shared = torch.tensor(int(flag))
        all_reduce(shared, op="max")
        return bool(shared)

    def _keep(self, name: str, value: Any) -> None:
        value = torch.as_tensor(value, device=self._device).detach()
        self._steps[-1].names.append(name)
        self._steps[-1].checks.append(value.float().sum() if value.numel() != 1 else value.view(()))

    # ---------------------------------------------------------------- reading what was kept

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Keep the losses on their device; look at them when the interval is full."""
        if self._at_once:
            return
        for name, value in (outputs or {}).items():
            if "loss" in name and isinstance(value, (Tensor, float)):
                self._keep(name, value)
        if (runner.iter + 1) % self.interval == 0 or self.is_last_train_iter(runner):
            self._read()

    def after_train_epoch(self, runner: Engine) -> None:
        """Look before a checkpoint is written or a validation begins."""
        self._read()

    def before_save_checkpoint(self, runner: Engine, checkpoint: dict[str, Any]) -> None:
        """Let no checkpoint be written of weights that are spoiled already."""
        if self._undo or self._steps:
            self._read(must_raise=True)

    def _open_window(self) -> None:
        self._steps = []
        if not self._at_once and self.keep_state:
            self._snapshot = Snapshot(self._model, self._wrappers)

    def _read(self, must_raise: bool = False) -> None:
        """Turn the kept values into numbers, in one transfer; the alarm if one is not finite."""
        if self._at_once:
            return
        checks = [check.float() for step in self._steps for check in step.checks]
        if not checks and not is_distributed():
            return
        finite = torch.isfinite(torch.stack(checks)).tolist() if checks else []
        flags = iter(finite)
        per_step = [list(islice(flags, len(step.checks))) for step in self._steps]
        bad = next((i for i, all_of_it in enumerate(per_step) if not all(all_of_it)), len(per_step))
        first = self._first_on_any_rank(bad)
        if first >= len(self._steps):
            self._open_window()
            return
        self._here = bad == first
        step = self._steps[first]
        named = [n for n, ok in zip(step.names, per_step[first], strict=True) if not ok]
        what: What = "gradient" if named == ["gradient"] else "loss"
        self._go_back_to(first)
        self._alarm(what, step, must_raise=must_raise)

    def _first_on_any_rank(self, index: int) -> int:
        if not is_distributed():
            return index
        shared = torch.tensor(index, device=self._device)
        all_reduce(shared, op="min")
        return int(shared)

    def _go_back_to(self, index: int) -> None:
        """Bring model and optimizer to where they were before step ``index`` of the window."""
        if self._snapshot is None:
            return
        self._snapshot.restore()
        for step in self._steps[:index]:
            step.random_state.restore()
            set_rates(self._wrappers, step.rates)
            self._runner.model.train_step(step.data_batch, optim_wrapper=self._runner.optim_wrapper)
        set_rates(self._wrappers, self._steps[index].rates)

    # ---------------------------------------------------------------- the alarm

    def _alarm(self, what: What, step: Step, must_raise: bool = False) -> None:
        """Find the source, on all ranks; then raise, or stop."""
        runner, here = self._runner, self._here
        buffers = self._buffers or Buffers(self._model)
        buffers.restore()
        if what == "gradient":
            for wrapper in self._wrappers:
                wrapper.zero_grad()
        step.random_state.restore()
        indices = sample_indices(runner.train_dataloader, step.epoch, step.batch_in_epoch)
        file = self._write(what, step, indices) if here else None
        # On all ranks, for a forward pass may communicate.
        step.random_state.restore()
        source = self._search(what, step)
        buffers.restore()
        report = {"here": here, "loss": source.loss, "text": source.text, "file": file}
        reports = all_gather_object({**report, "indices": indices, "what": what})
        rank = next(r for r, each in enumerate(reports) if each["here"])
        error = NonFiniteError(
            _message(step, reports, rank), step.iteration, rank, reports[rank]["file"]
        )
        self._end(error, must_raise)

    def _search(self, what: What, step: Step) -> NonFiniteSource:
        """The source; a model that cannot be run without an update must not hide what happened."""
        contexts = self._runner.optim_wrapper
        try:
            return find_source(self._model, step.data_batch, contexts, gradients=what == "gradient")
        except Exception as err:
            self._runner.logger.exception("NaNWatchHook: the step could not be run again.")
            text = f"Where it comes from could not be found: {type(err).__name__}: {err}"
            return NonFiniteSource(None, None, None, text)

    def _end(self, error: NonFiniteError, must_raise: bool) -> None:
        runner = self._runner
        self.close()
        if self.action == "raise" or must_raise:
            _raise(error)
        runner.logger.error(f"{error}\n  Training stops here.")
        runner.train_loop.stop_training = True

    def _write(self, what: What, step: Step, indices: list[int] | None) -> str:
        runner = self._runner
        name = f"iter_{step.iteration}_rank_{runner.rank}.pth"
        facts = {
            "iteration": step.iteration,
            "epoch": step.epoch,
            "batch_in_epoch": step.batch_in_epoch,
            "rank": runner.rank,
            "sample_indices": indices,
            "gradients": what == "gradient",
            "precision": precision_of(self._wrappers[0], self._device),
            "optimizer": runner.optim_wrapper.state_dict(),
            "cfg": runner.cfg.pretty_text,
        }
        path = Path(runner.work_dir) / "nan_watch" / name
        return write_replay(path, self._model, step.data_batch, facts)


class _RefusedStep(Exception):
    """A step that must not go on; travels from inside ``train_step`` to its caller."""

    def __init__(self, what: What) -> None:
        self.what: What = what
        super().__init__(what)


def _is_finite(loss: Tensor) -> bool:
    # Of one number, a twentieth of the time of the general way.
    return math.isfinite(loss.item()) if loss.numel() == 1 else bool(loss.isfinite().all())


def _raise(error: NonFiniteError) -> NoReturn:
    raise error from None


def _message(step: Step, reports: list[dict[str, Any]], rank: int) -> str:
    """What a person reads: where, what, from where, and what to do."""
    report = reports[rank]
    ranks = [number for number, each in enumerate(reports) if each["here"]]
    place = f"iteration {step.iteration} (epoch {step.epoch + 1}, batch {step.batch_in_epoch + 1})"
    where = f" on rank {rank}" if len(reports) > 1 else ""
    where += f" (and {', '.join(map(str, ranks[1:]))})" if ranks[1:] else ""
    again = report["loss"]  # when the step was run again
    value = "not finite" if again is None or math.isfinite(again) else again
    what = f"the loss is {value}" if report["what"] == "loss" else "a gradient is not finite"
    text = report["text"] or (
        "Run again, the step gave finite numbers: it depends on something that is not kept."
    )
    lines = [f"NaNWatchHook: {place}: {what}{where}.", *text.splitlines()]
    if report["indices"] is not None:
        lines.append(f"Samples of the batch: {', '.join(map(str, report['indices']))}")
    lines.append(f"Replay:  drivetrain.runner.hooks.replay_step({report['file']!r}, model)")
    return "\n  ".join(lines)


def sample_indices(dataloader: Any, epoch: int, batch_in_epoch: int) -> list[int] | None:
    """Indices of the samples of a batch; None where the order of the samples cannot be drawn again.

    Moves the position of the loader: for use when training is over.
    """
    order = getattr(dataloader, "order", None)
    if order is None:
        return None
    set_epoch(dataloader, epoch)
    if not skip_batches(dataloader, batch_in_epoch):
        return None
    batch = next(iter(order), None)
    order.start_over()
    indices = getattr(batch, "indices", batch)
    return [indices] if isinstance(indices, int) else None if indices is None else list(indices)
