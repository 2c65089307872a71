"""Writing down, at each step of a training, what two equal trainings must have in common."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from drivetrain.checkpoint import CheckpointFolder
from drivetrain.dist import is_main_process, is_model_wrapper, random_state_dict
from drivetrain.runner.hooks import Hook
from drivetrain.testing._fingerprints import fingerprint, flatten, is_generator, is_plain

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine

#: What the clock decides, and so may differ.
CLOCK = ("time", "data_time", "wall_time", "eta", "memory")
CLOCK += ("experiment_name", "best_ckpt", "last_ckpt", "cfg")


class EnoughSteps(Exception):
    """As many steps were made as were asked for."""


class Recorder(Hook):
    """Write one line a step into a file; then save, kill, or stop where that was asked for.

    A line is written when the batch is there and nothing was done with it; the outputs of the step
    follow in a line of their own.

    Args:
        path: The file.
        stop_after: Steps to make.
        save_after: Step after which to save what will be resumed; the next one is the last: in it,
            the process is killed.
    """

    priority = "LOWEST"

    def __init__(self, path: Path, stop_after: int, save_after: int | None = None) -> None:
        self._file = path.open("a")
        self._stop_after = stop_after
        self._save_after = save_after
        self._order: RecordedOrder | None = None

    def before_train(self, runner: Engine) -> None:
        self._order = RecordedOrder.of(runner.train_dataloader)
        if runner.iter >= self._stop_after:
            raise EnoughSteps

    def before_train_iter(self, runner: Engine, batch_idx: int, data_batch: Any = None) -> None:
        progress = runner.progress
        indices = self._order.at(progress.batch_in_epoch) if self._order else None
        self._write(
            runner.iter,
            {
                **_state_of(runner),
                "sample order": {} if indices is None else {"indices": fingerprint(indices)},
                "samples": dict(flatten(data_batch)),
                "attributes": dict(_attributes(runner)),
            },
        )

    def after_train_iter(
        self, runner: Engine, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._write(runner.iter, {"outputs": dict(flatten(outputs))})
        done = runner.iter + 1
        if done == self._save_after:
            name = f"verified_iter_{done}.pth"
            runner.save_checkpoint(runner.work_dir, name)
            if is_main_process():
                CheckpointFolder(runner.work_dir).set_latest(name)
        elif self._save_after is not None and done > self._save_after:
            os.kill(os.getpid(), signal.SIGKILL)
        if done >= self._stop_after:
            raise EnoughSteps

    def after_val_epoch(self, runner: Engine, metrics: Any = None) -> None:
        self._write(runner.iter, {"metrics": dict(flatten(metrics or {}))})

    def _write(self, step: int, parts: dict[str, dict[str, str]]) -> None:
        self._file.write(json.dumps({"step": step, **parts}) + "\n")
        self._file.flush()


class RecordedOrder:
    """The indices of the batches that a loader has drawn, by their number in the epoch."""

    def __init__(self, skips: bool) -> None:
        self._skips = skips  # else a loader that is opened inside an epoch draws all of it
        self._drawn: list[Any] = []
        self._first = 0
        self._asked = False

    @classmethod
    def of(cls, dataloader: DataLoader) -> RecordedOrder | None:
        """Let ``dataloader`` record from now on; None if it has no indices."""
        source = getattr(dataloader, "_index_sampler", None)
        if source is None:
            return None
        order = cls(skips=getattr(dataloader, "order", None) is not None)
        base = type(dataloader)

        class Recording(base):  # type: ignore[misc, valid-type]  # known at run time only
            @property
            def _index_sampler(self) -> Any:
                return _Drawing(super()._index_sampler, order)

        dataloader.__class__ = Recording
        return order

    def restart(self) -> list[Any]:
        """Begin another pass; returns the list to append to."""
        self._drawn, self._first, self._asked = [], 0, False
        return self._drawn

    def at(self, batch: int) -> Any:
        """Indices of a batch; those before the first one that is asked for may be missing."""
        if self._skips and not self._asked:
            self._first = batch
        self._asked = True
        at = batch - self._first
        return self._drawn[at] if at < len(self._drawn) else None


class _Drawing:
    """What a loader draws indices from, and a copy of all that it draws."""

    def __init__(self, source: Any, order: RecordedOrder) -> None:
        self._source = source
        self._order = order

    def __iter__(self) -> Iterator[Any]:
        # Not inside the generator: where the source begins is settled here, not at the first index.
        return self._copied(iter(self._source), self._order.restart())

    @staticmethod
    def _copied(source: Iterator[Any], drawn: list[Any]) -> Iterator[Any]:
        for indices in source:
            drawn.append(getattr(indices, "indices", indices))
            yield indices

    def __len__(self) -> int:
        return len(self._source)


def _state_of(runner: Engine) -> dict[str, dict[str, str]]:
    model = _bare(runner.model)
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers
    several = schedulers.values() if isinstance(schedulers, dict) else [schedulers or []]
    return {
        "weights": {name: fingerprint(tensor) for name, tensor in model.state_dict().items()},
        "optimizer": dict(_without_clock(flatten(wrapper.state_dict()))),
        "schedules": dict(flatten([s.state_dict() for ones in several for s in ones])),
        "random state": dict(flatten(random_state_dict())),
        "state of hooks": dict(_without_clock(flatten(runner._hook_list.state_dict()))),
        "log history": dict(_without_clock(flatten(runner.message_hub.state_dict()))),
    }


def _without_clock(leaves: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for path, text in leaves:
        words = set(path.replace("/", ".").split("."))
        if not words & set(CLOCK):
            yield path, text


def _bare(model: Any) -> Any:
    return model.module if is_model_wrapper(model) else model


def _attributes(runner: Engine) -> Iterator[tuple[str, str]]:
    """Plain attributes of the user's own objects: a state that no checkpoint may know of."""
    loader = runner.train_dataloader
    owners: dict[str, Any] = {
        f"hook {type(h).__name__}": h for h in runner.hooks if not isinstance(h, Recorder)
    }
    owners |= {f"model.{n}" if n else "model": m for n, m in _bare(runner.model).named_modules()}
    owners |= {"dataset": loader.dataset, "sampler": loader.sampler}
    owners |= {"batch sampler": loader.batch_sampler, "collate_fn": loader.collate_fn}
    owners |= {f"scheduler {i}": s for i, s in enumerate(_flat(runner.param_schedulers))}
    seen: set[int] = set()
    for label, owner in owners.items():
        yield from _plain_attributes(label, owner, seen, depth=4)


def _plain_attributes(
    label: str, owner: Any, seen: set[int], depth: int
) -> Iterator[tuple[str, str]]:
    if depth == 0 or id(owner) in seen:
        return
    seen.add(id(owner))
    kind = type(owner)
    if isinstance(owner, (list, tuple)) and len(owner) < 100:
        for index, item in enumerate(owner):
            yield from _plain_attributes(f"{label}[{index}]", item, seen, depth - 1)
        return
    if not hasattr(owner, "__dict__") or kind.__module__.split(".")[0] in ("torch", "builtins"):
        return
    ours = kind.__module__.startswith("drivetrain.")
    where = f"{label} ({kind.__module__}.{kind.__qualname__})"
    for name, value in list(vars(owner).items()):
        if is_plain(value):
            if not ours:
                yield f"{where}: {name}", fingerprint_all(value)
        elif not name.startswith("_") or not ours:
            yield from _plain_attributes(f"{label}.{name}", value, seen, depth - 1)
    if not ours:
        yield from _module_globals(kind.__module__, seen)


def _module_globals(name: str, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Generators and counters at the top of the module that a class of the user's comes from."""
    module = sys.modules.get(name)
    if module is None or id(module) in seen:
        return
    seen.add(id(module))
    for key, value in list(vars(module).items()):
        if not key.startswith("__") and (is_generator(value) or is_plain(value)):
            yield f"module {name}: {key}", fingerprint_all(value)


def fingerprint_all(value: Any) -> str:
    """One text for a plain value, also for a nested one."""
    leaves = list(flatten(value))
    if len(leaves) == 1 and not leaves[0][0]:
        return leaves[0][1]
    return fingerprint(repr(leaves) if len(leaves) > 3 else ", ".join(text for _, text in leaves))


def _flat(schedulers: Any) -> list[Any]:
    if isinstance(schedulers, dict):
        return [s for ones in schedulers.values() for s in ones]
    return list(schedulers or ())
