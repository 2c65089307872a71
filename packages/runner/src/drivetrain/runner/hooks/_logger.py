"""Log lines, scalar records and trackers: when they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from drivetrain.fileio import copyfile_from_local, dump, join_path, mkdir_or_exist
from drivetrain.registry import HOOKS
from drivetrain.runner._base_loop import length_of
from drivetrain.runner.hooks._hook import Batch, Hook
from drivetrain.runner.hooks._line_writer import LineWriter
from drivetrain.runner.hooks._sample_count import SampleCount

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class LoggerHook(Hook):
    """Every ``interval`` iterations, one line into the log and one record to the trackers.

    Records of training, validation and test tell the time by one clock, which a resumed run goes on
    with: ``epoch``, ``iter`` (also the ``step``), ``samples`` that all ranks have trained on, and
    ``wall_time``, the seconds spent in this training.

    Args:
        interval: Iterations between two lines.
        ignore_last: Leave out the last, shorter group of an epoch; one that is shorter than
            ``interval`` as a whole has its line all the same.
        interval_exp_name: Iterations between two reminders of the experiment's name; -1 for none.
        out_dir: Folder, also on a remote store, to which the log files are copied after the run,
            each in the folder that it has in the run's; the last level of the work dir is appended.
        out_suffix: Endings of the files that are copied.
        keep_local: Keep the local files after they were copied.
        file_client_args: Former name of ``backend_args``.
        log_metric_by_epoch: Give trackers the epoch (True) or the iteration (False) as the step of
            a metric. By default it is the iteration, as for losses: one clock for all curves. The
            records carry both.
        backend_args: How to reach the store of ``out_dir``.

    Raises:
        ValueError: If ``interval`` is not a positive number.
    """

    priority = "BELOW_NORMAL"

    def __init__(
        self,
        interval: int = 10,
        ignore_last: bool = True,
        interval_exp_name: int = 1000,
        out_dir: str | Path | None = None,
        out_suffix: Sequence[str] | str = (".json", ".log", ".py", ".yaml"),
        keep_local: bool = True,
        file_client_args: dict[str, Any] | None = None,
        log_metric_by_epoch: bool | None = None,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(
                f"LoggerHook: interval is a number of iterations from 1 on, got {interval!r}"
            )
        self.interval = interval
        self.ignore_last = ignore_last
        self.interval_exp_name = interval_exp_name
        self.out_dir = None if out_dir is None else str(out_dir)
        self.out_suffix = (out_suffix,) if isinstance(out_suffix, str) else tuple(out_suffix)
        self.keep_local = keep_local
        self.log_metric_by_epoch = log_metric_by_epoch
        self.backend_args = backend_args if backend_args is not None else file_client_args
        self.json_log_path = ""
        self._closes = not ignore_last
        self._writer = LineWriter()
        self._samples = SampleCount()
        self._wall_time_before_s = 0.0  # of the starts that this one goes on from
        self._started_s: float | None = None

    def before_run(self, runner: Engine) -> None:
        """Name the file of records, and where the logs will be copied to."""
        self.json_log_path = f"{runner.timestamp}.json"
        self._writer = LineWriter()
        if self.out_dir is not None:
            name = Path(runner.work_dir).name
            self._target = join_path(self.out_dir, name, backend_args=self.backend_args)
            runner.logger.info(f"Logs will be copied to {self._target} after the run.")

    def before_train(self, runner: Engine) -> None:
        """Start the clock."""
        self._started_s = perf_counter()

    def before_train_epoch(self, runner: Engine) -> None:
        """Look at the sizes of the batches to come, and whether the last one has a line."""
        self._samples.open_epoch(runner)
        counted = length_of(runner.train_dataloader) if runner.log_processor.by_epoch else None
        if counted is None:
            counted = runner.max_iters
        self._closes = not self.ignore_last or counted < self.interval

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Write a line if one is due."""
        self._after_train_iter(runner)(runner, batch_idx, data_batch)

    def bound_at(self, point: str, runner: Engine) -> Callable[..., None] | None:
        """The methods for iterations, with what stays the same looked up once."""
        if point == "after_train_iter":
            return self._after_train_iter(runner)
        if point in ("after_val_iter", "after_test_iter"):
            return self._after_eval_iter(runner, "val" if "val" in point else "test")
        return super().bound_at(point, runner)

    def _after_train_iter(self, runner: Engine) -> Callable[..., None]:
        samples, writer = self._samples, self._writer
        write = writer.bind(runner, "train", self._clock, self.json_log_path)
        by_epoch = runner.log_processor.by_epoch

        def after_train_iter(
            runner: Engine,
            batch_idx: int,
            data_batch: Batch = None,
            outputs: dict[str, Any] | None = None,
        ) -> None:
            if samples.looks:
                samples.add(data_batch)
            iteration = runner.iter + 1
            if self.interval_exp_name > 0 and iteration % self.interval_exp_name == 0:
                runner.logger.info(f"Exp name: {runner.experiment_name}")
            count = batch_idx + 1 if by_epoch else iteration
            if count % self.interval == 0 or (self._closes and self._ends(runner, batch_idx)):
                write(batch_idx)
            elif writer.is_holding and perf_counter() >= writer.write_at_s:
                writer.flush()

        return after_train_iter

    def _ends(self, runner: Engine, batch_idx: int) -> bool:
        """Whether what the lines count, an epoch or the whole training, ends here."""
        loader = runner.train_dataloader
        if runner.log_processor.by_epoch and length_of(loader) is not None:
            return self.end_of_epoch(loader, batch_idx)
        return self.is_last_train_iter(runner)

    def after_val_iter(
        self, runner: Engine, batch_idx: int, data_batch: Batch = None, outputs: Any = None
    ) -> None:
        """Write a line on the pace of a validation."""
        self._after_eval_iter(runner, "val")(runner, batch_idx)

    def after_test_iter(
        self, runner: Engine, batch_idx: int, data_batch: Batch = None, outputs: Any = None
    ) -> None:
        """Write a line on the pace of a test."""
        self._after_eval_iter(runner, "test")(runner, batch_idx)

    def _after_eval_iter(self, runner: Engine, mode: Literal["val", "test"]) -> Callable[..., None]:
        writer = self._writer
        write = writer.bind(runner, mode)

        def after_eval_iter(
            runner: Engine, batch_idx: int, data_batch: Batch = None, outputs: Any = None
        ) -> None:
            if (batch_idx + 1) % self.interval == 0:
                write(batch_idx)
            elif writer.is_holding and perf_counter() >= writer.write_at_s:
                writer.flush()

        return after_eval_iter

    def after_val_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics of a validation."""
        self._after_eval_epoch(runner, "val", len(runner.val_dataloader))

    def after_test_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics of a test, and put them into a file of their own in the log folder."""
        record = self._after_eval_epoch(runner, "test", len(runner.test_dataloader))
        if runner.rank == 0:
            dump(record, str(Path(runner.log_dir) / self.json_log_path))

    def _after_eval_epoch(
        self, runner: Engine, mode: Literal["val", "test"], batches: int
    ) -> dict[str, Any]:
        record, line = runner.log_processor.get_log_after_epoch(runner, batches, mode)
        runner.logger.info(line)
        stamped = {"mode": mode, **record, "epoch": runner.epoch, "iter": runner.iter}
        stamped |= self._clock()
        step = runner.epoch if self.log_metric_by_epoch else runner.iter
        runner.visualizer.add_scalars(stamped, step=step, file_path=self.json_log_path)
        return record

    def _clock(self) -> dict[str, float]:
        return {"samples": self._samples.total, "wall_time": round(self._wall_time_s(), 3)}

    def _wall_time_s(self) -> float:
        running_s = 0.0 if self._started_s is None else perf_counter() - self._started_s
        return self._wall_time_before_s + running_s

    def state_dict(self) -> dict[str, Any]:
        """Where the clock stands, apart from what the loop counts."""
        return {"samples": self._samples.total, "wall_time": self._wall_time_s()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the clock."""
        self._samples.total = state["samples"]
        self._wall_time_before_s = state["wall_time"]

    def after_run(self, runner: Engine) -> None:
        """Copy the logs to ``out_dir``, and close what was opened."""
        if self.out_dir is not None and runner.rank == 0:
            self._copy_logs(runner)
        runner.visualizer.close()

    def _copy_logs(self, runner: Engine) -> None:
        for file in sorted(Path(runner.log_dir).rglob("*")):
            if file.is_file() and file.name.endswith(self.out_suffix):
                parts = file.relative_to(runner.log_dir).parts
                target = join_path(self._target, *parts, backend_args=self.backend_args)
                if "://" not in target:
                    mkdir_or_exist(str(Path(target).parent))
                copyfile_from_local(str(file), target, backend_args=self.backend_args)
                if not self.keep_local:
                    file.unlink()
