"""When checkpoints are written, which is the best, and which may go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from drivetrain.checkpoint import (
    CheckpointContentError,
    CheckpointFolder,
    CheckpointNotFoundError,
)
from drivetrain.fileio import join_path
from drivetrain.registry import HOOKS
from drivetrain.runner.hooks._background_saves import BackgroundSaves
from drivetrain.runner.hooks._best_score import BestScore, Rule
from drivetrain.runner.hooks._hook import Batch, Hook
from drivetrain.runner.hooks._publish import publish

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Write checkpoints periodically, keep the best, remove the oldest.

    An old checkpoint is removed only after the new one is on disk, verified, and pointed to.

    With ``async_save`` training waits for a copy of the state only; a thread of rank 0 writes it,
    then moves the pointer, then removes old ones. The next save waits for the one before. If a save
    fails, the error is raised at the next step border (on several ranks: within ten steps, on all
    of them), and training does not end before the last one is on the disk.

    Args:
        interval: Epochs (``by_epoch``) or iterations between two checkpoints; -1 for none.
        by_epoch: Count epochs, not iterations.
        save_optimizer: Save what the optimizer needs to go on.
        save_param_scheduler: Save what the schedulers need to go on.
        out_dir: Folder, also on a remote store, in place of the work dir; the last level of the
            work dir is appended.
        max_keep_ckpts: How many periodic checkpoints to keep; -1 for all.
        save_last: Save at the end of training whatever the interval.
        save_best: Metric, metrics, or ``"auto"`` (the first reported) whose best checkpoint is
            kept.
        rule: ``"greater"``, ``"less"``, a list with one for each of ``save_best``, or None to
            infer.
        greater_keys: Names of metrics, or parts of names, of which more is better.
        less_keys: Names of metrics, or parts of names, of which less is better.
        file_client_args: Former name of ``backend_args``.
        filename_tmpl: Name of the files, with one ``{}`` for the finished epochs or iterations.
        backend_args: How to reach the store of ``out_dir``.
        save_begin: Finished epochs or iterations before the first checkpoint.
        published_keys: Entries of the best and the last checkpoint to write into files of their own
            when training is over, such as ``["meta", "state_dict"]``.
        async_save: Whether to write in the background, which takes memory for one copy of the
            state. By default where the weights are on an accelerator: there the copy is made in
            any case, and the device would stand idle meanwhile.

    Attributes:
        last_ckpt: Path of the newest periodic checkpoint; it may still be being written.

    Raises:
        ValueError: If options contradict one another.
        MetricNotFoundError: At the first validation, if a metric of ``save_best`` is not reported.
        CheckpointContentError: At the first save, if none of ``published_keys`` is in it.
    """

    priority = "VERY_LOW"
    out_dir: str

    def __init__(
        self,
        interval: int = -1,
        by_epoch: bool = True,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        out_dir: str | Path | None = None,
        max_keep_ckpts: int = -1,
        save_last: bool = True,
        save_best: str | Sequence[str] | None = None,
        rule: Rule | Sequence[Rule] | None = None,
        greater_keys: Sequence[str] | None = None,
        less_keys: Sequence[str] | None = None,
        file_client_args: dict[str, Any] | None = None,
        filename_tmpl: str | None = None,
        backend_args: dict[str, Any] | None = None,
        save_begin: int = 0,
        published_keys: str | Sequence[str] | None = None,
        async_save: bool | None = None,
    ) -> None:
        if filename_tmpl is not None and filename_tmpl.count("{}") != 1:
            raise ValueError(
                f"CheckpointHook: filename_tmpl needs one '{{}}', got {filename_tmpl!r}"
            )
        if max_keep_ckpts == 0 or max_keep_ckpts < -1:
            raise ValueError(
                f"CheckpointHook: max_keep_ckpts is -1 or at least 1, got {max_keep_ckpts}"
            )
        self.interval = interval
        self.by_epoch = by_epoch
        self.save_optimizer = save_optimizer
        self.save_param_scheduler = save_param_scheduler
        self._out_root = None if out_dir is None else str(out_dir)
        self.max_keep_ckpts = max_keep_ckpts
        self.save_last = save_last
        self.save_begin = save_begin
        keys = [published_keys] if isinstance(published_keys, str) else published_keys
        self.published_keys = list(keys or ())
        self.backend_args = backend_args if backend_args is not None else file_client_args
        self.filename_tmpl = filename_tmpl or ("epoch_{}.pth" if by_epoch else "iter_{}.pth")
        self._better: dict[int, float] = {}
        self._best = _best_scores(save_best, rule, greater_keys, less_keys)
        self._best_names: dict[int, str] = {}
        self._kept: list[str] = []
        self._identities: dict[str, tuple[int, ...] | None] = {}  # of the files of this run
        self._saved_iter = -1
        self._has_checked_keys = False
        self._async_save = async_save
        self._saves: BackgroundSaves | None = None
        self.last_ckpt: str | None = None

    @property
    def best_scores(self) -> dict[str, float]:
        """Best value so far of each metric of ``save_best`` that was reported."""
        return {best.key: best.value for best in self._best if best.value is not None}

    @property
    def has_store(self) -> bool:
        """Whether checkpoints go elsewhere than to the work dir."""
        return self._out_root is not None

    def folder_for(self, work_dir: str) -> str:
        """Where the checkpoints of the run of this work dir go."""
        if self._out_root is None:
            return work_dir
        name = Path(work_dir).name
        return str(join_path(self._out_root, name, backend_args=self.backend_args))

    def has_in_store(self, path: str) -> bool:
        """Whether a path is one of ``out_dir``, so that ``backend_args`` say how to reach it."""
        return self._out_root is not None and path.startswith(f"{self._out_root.rstrip('/')}/")

    def before_train(self, runner: Engine) -> None:
        """Settle the folder, and say where checkpoints go."""
        self.out_dir = self.folder_for(runner.work_dir)
        self._folder = CheckpointFolder(self.out_dir, backend_args=self.backend_args)
        for name in (*self._kept, *self._best_names.values()):  # a resumed run takes them over
            self._identities[name] = self._folder.identity(name)
        self._saved_iter = runner.progress.iter if runner.progress.iter else -1
        in_background = self._async_save
        if in_background is None:
            in_background = _is_on_accelerator(runner.model)
        self._saves = BackgroundSaves(self._folder) if in_background else None
        runner.logger.info(f"Checkpoints will be saved to {self.out_dir}.")

    def bound_at(self, point: str, runner: Engine) -> Callable[..., None] | None:
        """Nothing after an iteration where epochs are counted, and no save may fail meanwhile."""
        if point == "after_train_iter" and self.by_epoch and self._saves is None:
            return None
        return super().bound_at(point, runner)

    def after_train_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Save if iterations are counted and one is due."""
        if self._saves is not None:
            self._saves.check(runner.iter)
        if self.by_epoch:
            return
        if self.every_n_train_iters(runner, self.interval, self.save_begin) or (
            self.save_last and self.is_last_train_iter(runner)
        ):
            self._save_periodic(runner, runner.iter + 1)

    def after_train_epoch(self, runner: Engine) -> None:
        """Save if epochs are counted and one is due."""
        if not self.by_epoch:
            return
        if self.every_n_epochs(runner, self.interval, self.save_begin) or (
            self.save_last and self.is_last_train_epoch(runner)
        ):
            self._save_periodic(runner, runner.epoch + 1)

    def after_val_epoch(self, runner: Engine, metrics: dict[str, float] | None = None) -> None:
        """See which metrics are the best so far; outside of training nothing is saved."""
        if not self._best or not runner.is_training:
            return
        if not metrics:
            runner.logger.warning("The evaluator reported nothing: no best checkpoint this time.")
            return
        values = [best.read(metrics, "CheckpointHook.save_best") for best in self._best]
        self._better = {
            index: value
            for index, (best, value) in enumerate(zip(self._best, values, strict=True))
            if best.is_better(value)
        }

    def after_val(self, runner: Engine) -> None:
        """Save the best, when all hooks have seen its metrics: a resume goes on behind them."""
        better, self._better = self._better, {}
        if better:
            self._save_best(runner, better)

    def after_train(self, runner: Engine) -> None:
        """Save what an early stop would leave unsaved, and publish what is to be published."""
        progress = runner.progress
        if self.save_last and self._saved_iter != progress.iter > 0:
            self._save_periodic(runner, progress.epoch if self.by_epoch else progress.iter)
        if self._saves is not None:
            self._saves.wait()
            self._saves = None  # and the memory of its copy
        if self.published_keys:
            self._publish(runner)

    def close(self) -> None:
        """Wait for what is being written, when training ends by an error."""
        saves, self._saves = self._saves, None
        if saves is not None:
            saves.close()

    def before_save_checkpoint(self, runner: Engine, checkpoint: dict[str, Any]) -> None:
        """Let a save in the background finish first: of two, the later moves the pointer last."""
        if self._saves is not None:
            self._saves.make_way(runner.logger)
        self._check_published_keys(runner, checkpoint)

    def _check_published_keys(self, runner: Engine, checkpoint: dict[str, Any]) -> None:
        """Tell of keys that cannot be published at the first save, not when training is over."""
        missing = [key for key in self.published_keys if key not in checkpoint]
        if not missing or self._has_checked_keys:
            return
        self._has_checked_keys = True
        text = (
            f"CheckpointHook.published_keys: the checkpoints of this run have no "
            f"{', '.join(map(repr, missing))}.\n  They have: {', '.join(map(repr, checkpoint))}"
        )
        if len(missing) == len(self.published_keys):
            raise CheckpointContentError(text)
        runner.logger.warning(text)

    def _publish(self, runner: Engine) -> None:
        names = list(self._best_names.values()) + (self._kept[-1:] if self.save_last else [])
        for name in names:
            published = publish(self._path_of(name), self.published_keys, self.backend_args)
            if published is not None:
                runner.logger.info(f"Published {published}.")

    def _save_periodic(self, runner: Engine, count: int) -> None:
        name = self.filename_tmpl.format(count)
        unit = "epochs" if self.by_epoch else "iterations"
        runner.logger.info(f"Saving checkpoint at {count} {unit}")
        if name in self._kept:
            self._kept.remove(name)
        self._kept.append(name)
        self._saved_iter = runner.progress.iter
        self.last_ckpt = self._path_of(name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        surplus = self._kept[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else []

        def point_and_rotate(path: str) -> None:
            # A run that resumes looks into its work dir.
            elsewhere = None if self._out_root is None else runner.work_dir
            self._identities[name] = self._folder.identity(name, as_written=True)
            try:
                self._folder.set_latest(name, also_in=elsewhere)
            except CheckpointNotFoundError:
                runner.logger.warning(
                    f"{path} was removed right after it was written: does another run use "
                    f"{self.out_dir}? Older checkpoints of this run stay."
                )
                return
            for old in surplus:
                self._drop(old)

        # What is saved still names the surplus: a run that is killed before it is gone removes it.
        self._save(runner, name, point_and_rotate)
        self._kept = [kept for kept in self._kept if kept not in surplus]

    def _save_best(self, runner: Engine, better: dict[int, float]) -> None:
        """Save the state once, under the name of each metric that it is the best of."""
        count = runner.progress.epoch if self.by_epoch else runner.progress.iter
        stem = self.filename_tmpl.format(count)
        names, surplus, lines = [], [], []
        for index, value in better.items():
            best = self._best[index]
            best.value = value
            name = f"best_{best.key.replace('/', '_')}_{stem}"
            old = self._best_names.get(index)
            if old is not None and old != name:
                surplus.append(old)
            self._best_names[index] = name
            names.append(name)
            path = self._path_of(name)
            suffix = "" if len(self._best) == 1 else f"_{best.key}"
            runner.message_hub.update_info(f"best_score{suffix}", value)
            runner.message_hub.update_info(f"best_ckpt{suffix}", path)
            lines.append(
                f"The best checkpoint with {value:.4f} {best.key} at {count} "
                f"{'epoch' if self.by_epoch else 'iter'} is saved to {path}."
            )

        def copy_and_drop(path: str) -> None:
            for name in names[1:]:
                self._folder.copy(names[0], name)
            for name in names:
                self._identities[name] = self._folder.identity(name, as_written=True)
            for old in surplus:
                self._drop(old)
            for line in lines:
                runner.logger.info(line)

        self._save(runner, names[0], copy_and_drop)

    def _save(self, runner: Engine, name: str, then: Callable[[str], None]) -> None:
        if self._saves is not None:
            self._saves.wait()  # here, where all ranks raise if the one before failed
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            background=None if self._saves is None else self._saves.writer,
            then=then,
        )
        if self._saves is not None:
            self._saves.started()

    def _path_of(self, name: str) -> str:
        return str(join_path(self.out_dir, name, backend_args=self.backend_args))

    def _drop(self, name: str) -> None:
        """Remove a checkpoint if it is there: a resumed run remembers files of before its kill.

        One that another run has written under the same name since is not ours, and stays.
        """
        try:
            self._folder.remove(name, only=self._identities.pop(name, None))
        except FileNotFoundError:
            pass

    def state_dict(self) -> dict[str, Any]:
        """Best scores and the files that belong to this run."""
        return {
            "best": [
                {"key": best.key, "value": best.value, "name": self._best_names.get(index)}
                for index, best in enumerate(self._best)
            ],
            "kept": list(self._kept),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the saved scores; a metric that is new starts without one."""
        saved = {entry["key"]: entry for entry in state["best"]}
        for index, best in enumerate(self._best):
            entry = saved.get(best.key)
            if entry is None and best.key == "auto" and state["best"]:
                entry = state["best"][index] if index < len(state["best"]) else None
                if entry is not None and entry["value"] is not None:
                    best.read({entry["key"]: entry["value"]}, "resume")
            if entry is not None:
                best.value = entry["value"]
                if entry["name"] is not None:
                    self._best_names[index] = entry["name"]
        self._kept = list(state["kept"])


def _is_on_accelerator(model: nn.Module) -> bool:
    return any(param.device.type not in ("cpu", "meta") for param in model.parameters())


def _best_scores(
    save_best: str | Sequence[str] | None,
    rule: Rule | Sequence[Rule] | None,
    greater_keys: Sequence[str] | None,
    less_keys: Sequence[str] | None,
) -> list[BestScore]:
    """One ``BestScore`` for each metric of ``save_best``, with its rule."""
    if save_best is None:
        return []
    keys = [save_best] if isinstance(save_best, str) else list(save_best)
    if len(keys) != len(set(keys)):
        raise ValueError(f"CheckpointHook: save_best names a metric twice: {keys}")
    if len(keys) > 1 and "auto" in keys:
        raise ValueError("CheckpointHook: save_best='auto' stands alone, not in a list with others")
    if rule is None or isinstance(rule, str):
        rules: list[Any] = [rule] * len(keys)
    else:
        rules = list(rule)
        if len(rules) == 1:
            rules *= len(keys)
    if len(rules) != len(keys):
        raise ValueError(
            f"CheckpointHook: {len(rules)} rules for {len(keys)} metrics in save_best; "
            "give one rule, or one for each"
        )
    return [
        BestScore(key, r, greater_keys=greater_keys, less_keys=less_keys)
        for key, r in zip(keys, rules, strict=True)
    ]
