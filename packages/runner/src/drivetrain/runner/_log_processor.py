"""Log lines and scalar records, made from the histories in the message hub."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from drivetrain.dist import get_max_cuda_memory
from drivetrain.logging import HistoryBuffer, MessageHub
from drivetrain.registry import LOG_PROCESSORS
from drivetrain.runner._base_loop import length_of
from drivetrain.runner._rank_means import RankMeans, is_rate

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine

Mode = Literal["train", "val", "test"]
Record = dict[str, Any]


@dataclass(frozen=True)
class _Pass:
    """What all lines of one pass over the data begin with.

    Attributes:
        name: What the line is about: ``Epoch(train) [2]``, ``Iter(train) ``.
        total: Batches of the pass; iterations of the training if those are counted.
        epoch: Its number, where the line has one.
        counts_iterations: Whether positions are iterations of the training.
    """

    name: str
    total: int
    epoch: int | None = None
    counts_iterations: bool = False

    @cached_property
    def width(self) -> int:
        """Characters of the total."""
        return len(str(self.total))


class Moment(NamedTuple):
    """What a line says of the moment that it tells of.

    Attributes:
        mode: The stage.
        batch_idx: Index of the batch within its epoch.
        iteration: Iterations of training until then, this one included; 0 without a training.
        eta_s: Seconds until the end, where they are known.
        memory_mb: Most memory taken on the accelerator, where there is one.
    """

    mode: Mode
    batch_idx: int
    iteration: int
    eta_s: float | None
    memory_mb: int | None


@LOG_PROCESSORS.register_module()
class LogProcessor:
    """Smooth what was recorded, and put it into one line.

    Losses, times and gradient norms are averaged over the last ``window_size`` iterations,
    everything else is shown as it was last. On several ranks, a training line shows the mean of
    what they have (learning rates apart), and the largest memory; histories in the message hub stay
    those of each rank.

    Args:
        window_size: Iterations to average over.
        by_epoch: Count epochs and batches in the line (``Epoch(train) [2][10/25]``), not
            iterations.
        custom_cfg: Further statistics, each a dict with ``data_src`` (name of a scalar),
            ``method_name`` (``mean``, ``max``, ``min``, ``current`` or one registered with
            ``HistoryBuffer``), ``window_size`` (a number, ``"epoch"`` or ``"global"``) and
            ``log_name``; without ``log_name`` the scalar's own figure is replaced.
        num_digits: Digits after the decimal point.
        mean_pattern: Regular expression of the names that are averaged.

    Raises:
        ValueError: If ``custom_cfg`` replaces a figure twice, or asks for epochs where iterations
            count.
    """

    def __init__(
        self,
        window_size: int = 10,
        by_epoch: bool = True,
        custom_cfg: Sequence[Mapping[str, Any]] | None = None,
        num_digits: int = 4,
        mean_pattern: str = r".*(loss|time|data_time|grad_norm).*",
    ) -> None:
        self.window_size = window_size
        self.by_epoch = by_epoch
        self.custom_cfg = [dict(cfg) for cfg in custom_cfg or ()]
        self.num_digits = num_digits
        self.mean_pattern = re.compile(mean_pattern)
        #: The record of the last training line that was made; a display shows it without reading
        # the device again.
        self.last_made: Record = {}
        self._hub: MessageHub | None = None
        self._rank_means = RankMeans()
        self._passes: dict[Mode, tuple[int, _Pass]] = {}  # the last line's batch, and its pass
        self._sorted: dict[str, tuple[Any, dict[str, tuple[HistoryBuffer, bool]]]] = {}
        self._check_custom_cfg()

    def _check_custom_cfg(self) -> None:
        replaced: set[str] = set()
        for cfg in self.custom_cfg:
            source = cfg.get("data_src")
            if source is None or "method_name" not in cfg:
                raise ValueError(f"LogProcessor.custom_cfg: {cfg} needs data_src and method_name")
            if not self.by_epoch and cfg.get("window_size") == "epoch":
                raise ValueError(
                    f"LogProcessor.custom_cfg: {source!r} asks for window_size='epoch', but with "
                    "by_epoch=False there are no epochs to count"
                )
            if "log_name" not in cfg:
                if source in replaced:
                    raise ValueError(
                        f"LogProcessor.custom_cfg: {source!r} is replaced twice; "
                        "give one of the two a log_name"
                    )
                replaced.add(source)

    def get_log_after_iter(self, runner: Engine, batch_idx: int, mode: Mode) -> tuple[Record, str]:
        """Record and line after an iteration.

        Args:
            runner: The runner.
            batch_idx: Index of the batch within its epoch.
            mode: ``"train"``, ``"val"`` or ``"test"``.

        Returns:
            The figures by name, and the line; of a training the same on all ranks, which have to
            ask for it together. This is the one place of a training that reads tensors from the
            device: all that a line needs comes in one transfer.
        """
        moment = self.moments(runner, mode)(batch_idx)
        return self.log_at(moment, runner, over_ranks=mode == "train" and runner.distributed)

    @property
    def latest(self) -> Record:
        """The record of the last training line, made now if it was to wait."""
        if self._hub is not None:
            self._hub.settle()
        return self.last_made

    def moments(self, runner: Engine, mode: Mode) -> Callable[[int], Moment]:
        """A function that tells, for the index of a batch, what a line says of the moment.

        Args:
            runner: The runner.
            mode: ``"train"``, ``"val"`` or ``"test"``.
        """
        self._hub = runner.message_hub
        facts = self._hub.facts_for()
        training = runner.train_loop if runner.has_train_loop else None
        # Asked of torch itself: whether there is a device takes a look at the driver.
        has_device = torch.cuda.is_initialized

        def moment(batch_idx: int) -> Moment:
            iteration = 0 if training is None else training.iter + 1
            memory_mb = get_max_cuda_memory() if has_device() else None
            return Moment(mode, batch_idx, iteration, facts.get("eta"), memory_mb)

        return moment

    def log_at(
        self, moment: Moment, runner: Engine, *, over_ranks: bool = False
    ) -> tuple[Record, str]:
        """Record and line of a moment, for which the histories of the message hub stand now.

        Args:
            moment: What a function of :meth:`moments` returned, in the pass over the data that the
                runner is still in.
            runner: The runner.
            over_ranks: Take the means of all ranks, each of which calls this now.
        """
        mode, batch_idx, iteration, eta_s, memory = moment
        where = self._pass_of(runner, batch_idx, mode)
        record = self._collect(runner.message_hub, mode, batch_idx, iteration)
        if over_ranks:
            record, memory = self._rank_means.over_ranks(record, memory)
        names = list(record)
        if where.epoch is not None:
            record["epoch"] = where.epoch
        record["iter"] = iteration
        position = iteration if where.counts_iterations else batch_idx + 1
        parts = []
        if mode == "train":
            rates = [name for name in names if is_rate(name)]
            parts += [f"{name}: {record[name]:.{self.num_digits}e}" for name in rates]
            names = [name for name in names if name not in rates]
            self.last_made = record
        if eta_s is not None and eta_s < math.inf and "time" in record and "data_time" in record:
            digits = self.num_digits
            parts += [
                f"eta: {datetime.timedelta(seconds=int(eta_s))}",
                f"time: {record['time']:.{digits}f}",
                f"data_time: {record['data_time']:.{digits}f}",
            ]
            names = [name for name in names if name not in ("time", "data_time")]
        if memory is not None:
            record["memory"] = memory
            parts.append(f"memory: {memory}")
        if mode == "val":
            names = [name for name in names if "loss" in name]
        if mode != "test":
            parts += [f"{name}: {self._number(record[name])}" for name in names]
        return record, f"{where.name}[{position:>{where.width}}/{where.total}]  {'  '.join(parts)}"

    def get_log_after_epoch(
        self, runner: Engine, batch_idx: int, mode: Mode, with_non_scalar: bool = False
    ) -> tuple[Record, str]:
        """Record and line after a pass over the validation or test data.

        Args:
            runner: The runner.
            batch_idx: Number of batches of the pass.
            mode: ``"val"`` or ``"test"``.
            with_non_scalar: Put results that are no numbers into the record too.

        Returns:
            The figures by name, and the line.
        """
        record = self._collect(
            runner.message_hub, mode, batch_idx - 1, runner.iter + 1, times_over_epoch=True
        )
        total = len(self._loader(runner, mode))
        place = f"[{total}/{total}]"
        if self.by_epoch:
            epoch = f" [{self._epoch(runner, mode)}]" if mode == "val" else " "
            line = f"Epoch({mode}){epoch}{place}  "
        else:
            line = f"Iter({mode}) {place}  "
        others = {
            name.removeprefix(f"{mode}/"): value
            for name, value in runner.message_hub.runtime_info.items()
            if name.startswith(f"{mode}/")
        }
        times = {name: record.pop(name) for name in ("data_time", "time") if name in record}
        shown = {**record, **others, **times}
        record |= times
        if with_non_scalar:
            record |= others
        return record, line + "  ".join(f"{k}: {self._number(v)}" for k, v in shown.items())

    def _collect(
        self,
        hub: MessageHub,
        mode: Mode,
        batch_idx: int,
        iteration: int,
        times_over_epoch: bool = False,
    ) -> Record:
        """Figures of a stage, by name without the stage's prefix."""
        hub.settle()  # every tensor that waits, in one transfer
        histories = self._histories(hub, mode)
        window = self.window_size
        record: Record = {}
        for name, (history, is_averaged) in histories.items():
            if times_over_epoch and name in ("time", "data_time"):
                record[name] = history.recent_mean(batch_idx + 1)
            else:
                record[name] = history.recent_mean(window) if is_averaged else history.latest()
        for cfg in self.custom_cfg:
            source = str(cfg["data_src"]).removeprefix(f"{mode}/")
            if source in histories:
                rest = {k: v for k, v in cfg.items() if k not in ("data_src", "log_name")}
                if "window_size" in rest:
                    rest["window_size"] = _window(rest["window_size"], batch_idx, iteration or 1)
                name = str(cfg.get("log_name", source))
                record[name] = histories[source][0].statistics(**rest)
        return record

    def _histories(self, hub: MessageHub, mode: Mode) -> dict[str, tuple[HistoryBuffer, bool]]:
        """Histories of a stage, by name without its prefix, and whether each is averaged.

        Sorted out anew only when the hub has new ones: a line is written every few iterations.
        """
        known = tuple(map(id, hub.log_scalars.values()))
        cached = self._sorted.get(mode)
        if cached is None or cached[0] != known:
            prefix = f"{mode}/"
            histories = {
                name.removeprefix(prefix): history
                for name, history in hub.log_scalars.items()
                if name.startswith(prefix)
            }
            averaged = {
                name: (history, self.mean_pattern.match(name) is not None)
                for name, history in histories.items()
            }
            cached = self._sorted[mode] = (known, averaged)
        return cached[1]

    def _pass_of(self, runner: Engine, batch_idx: int, mode: Mode) -> _Pass:
        """The pass over the data that a line belongs to, looked at when a new one begins."""
        last, current = self._passes.get(mode, (batch_idx, None))
        if current is None or batch_idx <= last:
            current = self._new_pass(runner, mode)
        self._passes[mode] = (batch_idx, current)
        return current

    def _new_pass(self, runner: Engine, mode: Mode) -> _Pass:
        endless = mode == "train" and length_of(runner.train_dataloader) is None
        if mode == "train" and (endless or not self.by_epoch):
            return _Pass("Iter(train) ", runner.max_iters, counts_iterations=True)
        total = len(self._loader(runner, mode))
        if not self.by_epoch:
            return _Pass(f"Iter({mode}) ", total)
        if mode == "test":
            return _Pass("Epoch(test) ", total)
        epoch = self._epoch(runner, mode)
        # Aligned, so that columns stay below one another.
        width = len(str(runner.max_epochs)) + 3 if runner.has_train_loop else 0
        return _Pass(f"Epoch({mode}){f'[{epoch}]':>{width}}", total, epoch)

    def _number(self, value: Any) -> str:
        return f"{value:.{self.num_digits}f}" if isinstance(value, float) else str(value)

    @staticmethod
    def _loader(runner: Engine, mode: Mode) -> Any:
        return getattr(runner, f"{mode}_dataloader")

    @staticmethod
    def _epoch(runner: Engine, mode: Mode) -> int:
        """Number of the epoch; a validation belongs to the one that has just ended."""
        if mode == "train":
            return runner.epoch + 1
        return runner.epoch


def _window(window: int | str, batch_idx: int, iteration: int) -> int:
    if isinstance(window, int):
        return window
    if window == "epoch":
        return batch_idx + 1
    if window == "global":
        return iteration
    raise ValueError(
        f"LogProcessor.custom_cfg: window_size is a number, 'epoch' or 'global', got {window!r}"
    )
