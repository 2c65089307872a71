"""Writing the state of a run, and getting it back."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import DataLoader

from drivetrain.checkpoint import (
    AsyncCheckpointWriter,
    CheckpointFolder,
    NotPlainDataError,
    as_plain_data,
)
from drivetrain.config import Config
from drivetrain.dist import broadcast_object, is_main_process, load_random_state_dict
from drivetrain.fileio import join_path
from drivetrain.logging import MessageHub
from drivetrain.runner.__about__ import __version__
from drivetrain.runner._checkpoint_store import folder_of_run, newest_in_store, within_reach
from drivetrain.runner._hook_list import HookList
from drivetrain.runner._progress import Progress
from drivetrain.runner._rank_state import gather_rank_states, load_rank_state
from drivetrain.runner._resume_rules import (
    changes_between,
    follow_changed_optimizer,
    follow_new_schedules,
    refuse_other_optimizer,
    scheduled_values,
)
from drivetrain.runner._run_facts import RunFacts, is_built


class RunState(RunFacts):
    """Checkpoints: what goes in, what comes out, and which one a run begins with."""

    cfg: Config
    message_hub: MessageHub
    is_resuming: bool
    optim_wrapper: Any
    param_schedulers: Any
    settings: dict[str, Any]
    _old_schedules: Any = None
    _val_loop: Any
    _test_loop: Any
    _hook_list: HookList
    _load_from: str | None
    _resume: bool
    _has_loaded: bool
    _random_states: list[Any] | None

    @property
    @abstractmethod
    def train_dataloader(self) -> DataLoader:
        """The loader of the training data."""

    @abstractmethod
    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks that act at ``fn_name``."""

    @abstractmethod
    def _prepare(self, *, training: bool) -> None:
        """Let the strategy build and wrap what is not ready yet."""

    def load_or_resume(self) -> None:
        """Resume, load weights, or do nothing, as the arguments of the runner say; at most once."""
        if self._has_loaded:
            return
        self._has_loaded = True
        if self._resume:
            source = self._load_from or self._find_latest()
            if source is not None and self._train_loop is not None:
                self.resume(source)
            elif source is not None:  # nothing to train: its weights are all that matters
                self.load_checkpoint(source)
            if source is not None:
                return
        if self._load_from is not None:
            self.load_checkpoint(self._load_from)

    def _find_latest(self) -> str | None:
        """Newest good checkpoint of the work dir; rank 0 looks, and all ranks take its answer."""
        found: str | None = None
        if is_main_process():
            hooks = self._hook_list.hooks
            store = newest_in_store(self.work_dir, hooks)
            for folder in (folder_of_run(self.work_dir, hooks), store):
                if folder is not None and found is None:
                    found = folder.latest()
                    for path, reason in folder.skipped:
                        self.logger.warning(f"Passed over {path}: {reason}")
        found = broadcast_object(found)
        if found is None:
            self.logger.info(
                f"No checkpoint in {self.work_dir}: training starts from the beginning."
            )
        return found

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = "default",
    ) -> None:
        """Continue from a checkpoint.

        Args:
            filename: Path or URL of the checkpoint.
            resume_optimizer: Restore the optimizer.
            resume_param_scheduler: Restore the schedulers.
            map_location: Where tensors go; ``"default"`` is the device of this process.
        """
        loop = self.train_loop
        self._prepare(training=True)
        fresh = scheduled_values(self.optim_wrapper)
        self.is_resuming = True
        try:
            with within_reach(filename, self._hook_list.hooks) as path:
                checkpoint = self.strategy.resume(
                    path,
                    resume_optimizer=resume_optimizer,
                    resume_param_scheduler=resume_param_scheduler,
                    map_location=map_location,
                    callback=lambda loaded: self._after_read(
                        loaded, resume_optimizer, resume_param_scheduler
                    ),
                )
        finally:
            self.is_resuming = False
        self._has_loaded = True
        for loop_built in (loop, self._val_loop, self._test_loop):
            if is_built(loop_built):
                reseed(loop_built.dataloader, self.seed)
        progress = Progress.from_checkpoint(checkpoint)
        if "message_hub" in checkpoint:
            self.message_hub.load_state_dict(checkpoint["message_hub"])
        load_rank_state(self, checkpoint.get("ranks") or [], progress)
        go_on(loop, progress)
        meta = checkpoint.get("meta", {})
        settings = meta.get("settings") or {}
        if settings and resume_optimizer:
            follow_changed_optimizer(self, settings)
        if settings and resume_param_scheduler and self._other_schedules(settings):
            follow_new_schedules(self, fresh, self._old_schedules, progress)
        self._hook_list.load_state_dict(checkpoint.get("hooks", {}))
        self._random_states = checkpoint.get("random_state")
        self._warn_of_other_data(meta.get("dataset_meta"))
        self.logger.info(f"Resumed from {filename}: epoch {loop.epoch}, iteration {loop.iter}.")
        if loop.iter >= loop.max_iters:
            self.logger.info(
                "This training is finished; to go on, raise max_epochs or max_iters in train_cfg."
            )

    def _after_read(
        self, checkpoint: dict[str, Any], resume_optimizer: bool, resume_param_scheduler: bool
    ) -> None:
        """Look at a checkpoint before anything of it is taken, and show what has changed since."""
        settings = checkpoint.get("meta", {}).get("settings") or {}
        if settings:
            if resume_optimizer:
                refuse_other_optimizer(settings, self.settings)
            changes = list(changes_between(settings, self.settings))
            if changes:
                rows = "\n".join(f"  {change}" for change in changes)
                self.logger.warning(f"Since this checkpoint the run has changed:\n{rows}")
            if resume_param_scheduler and self._other_schedules(settings):
                self._old_schedules = checkpoint.pop("param_schedulers", None)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)

    def _other_schedules(self, settings: dict[str, Any]) -> bool:
        """Whether the schedules, or the values that they begin with, have been changed."""
        old, new = (each.get("param_scheduler", []) for each in (settings, self.settings))
        return any(True for _ in changes_between(old, new))

    def restore_random_state(self) -> None:
        """Bring the random generators to where the resumed run had them; does so once.

        The loop calls it right before the first thing that the interrupted run would have done
        next: building a model or a loader must not move them.
        """
        states, self._random_states = self._random_states, None
        if states and self.rank < len(states):
            load_random_state_dict(states[self.rank])

    def _dataset_meta(self) -> dict[str, Any] | None:
        """Metainfo of the training data, as plain data; what has no plain form as its ``repr``."""
        if not self.has_train_loop:
            return None
        metainfo = getattr(self.train_dataloader.dataset, "metainfo", None)
        if metainfo is None:
            return None
        plain = {}
        for key, value in dict(metainfo).items():
            try:
                plain[key] = as_plain_data(value)
            except NotPlainDataError:
                plain[key] = repr(value)
        return plain

    def _warn_of_other_data(self, dataset_meta: Any) -> None:
        current = self._dataset_meta()
        # As texts: metainfo may hold tensors, whose comparison is no single truth.
        if dataset_meta is not None and repr(dataset_meta) != repr(current):
            self.logger.warning(
                "The dataset's metainfo differs from the checkpoint's: is this the same dataset?\n"
                f"  Checkpoint: {dataset_meta}\n"
                f"  Now:        {current}"
            )

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = "cpu",
        strict: bool = False,
        revise_keys: Sequence[tuple[str, str]] = ((r"^module\.", ""),),
    ) -> dict[str, Any]:
        """Load weights into the model.

        Args:
            filename: Path or URL of the checkpoint.
            map_location: Where tensors go first.
            strict: Whether the keys must fit exactly; else what does not fit is reported.
            revise_keys: Pairs of a regular expression and its replacement, applied to each key.

        Returns:
            The checkpoint.
        """
        self._prepare(training=False)
        with within_reach(filename, self._hook_list.hooks) as path:
            checkpoint = self.strategy.load_checkpoint(
                path,
                map_location=map_location,
                strict=strict,
                revise_keys=list(revise_keys),
                callback=lambda loaded: self.call_hook("after_load_checkpoint", checkpoint=loaded),
            )
        self._has_loaded = True
        self.logger.info(f"Loaded weights from {filename}.")
        return checkpoint

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict[str, Any] | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
        background: AsyncCheckpointWriter | None = None,
        then: Callable[[str], None] | None = None,
    ) -> str:
        """Write the state of the run; to be called on all ranks.

        Args:
            out_dir: Folder.
            filename: Name of the file in it.
            file_client_args: Former name of ``backend_args``.
            save_optimizer: Save what the optimizer needs to go on.
            save_param_scheduler: Save what the schedulers need to go on.
            meta: Further entries of the checkpoint's ``meta``. An ``epoch`` or ``iter`` in it is
                for readers: a resume goes on from the real position.
            by_epoch: Kept for compatibility; the position that is saved counts both.
            backend_args: How to reach the store.
            background: Writes while training goes on, which waits for a copy of the state only.
            then: Called on rank 0 with the path when the checkpoint is whole and on the disk.

        Returns:
            Path of the checkpoint.
        """
        if meta is not None and not isinstance(meta, dict):
            raise TypeError(f"meta is a dict or None, got {type(meta).__name__}")
        backend_args = backend_args if backend_args is not None else file_client_args
        path = str(join_path(out_dir, filename, backend_args=backend_args))
        progress = self.progress
        extra = {
            "meta": {
                "epoch": progress.epoch,
                "iter": progress.iter,
                **(meta or {}),
                "cfg": self.cfg.pretty_text,
                "seed": self.seed,
                "experiment_name": self.experiment_name,
                "time": time.strftime("%Y%m%d_%H%M%S"),
                "drivetrain_version": __version__,
                "dataset_meta": self._dataset_meta(),
                "settings": self.settings,
            },
            "progress": progress.state_dict(),
            "ranks": gather_rank_states(self),
            "message_hub": self.message_hub.state_dict(),
            "hooks": self._hook_list.state_dict(),
        }
        self.strategy.save_checkpoint(
            path,
            save_optimizer=save_optimizer,
            save_param_scheduler=save_param_scheduler,
            extra_ckpt=extra,
            callback=lambda state: self.call_hook("before_save_checkpoint", checkpoint=state),
            backend_args=backend_args,
            background=background,
            then=then,
        )
        return path

    def save_interrupted(self) -> str:
        """Write a checkpoint to resume from, and point to it; returns its path."""
        name = f"interrupted_iter_{self.progress.iter}.pth"
        path = self.save_checkpoint(self.work_dir, name)
        if is_main_process():
            CheckpointFolder(self.work_dir).set_latest(name)
        return path


def go_on(loop: Any, progress: Progress) -> None:
    """Bring a training loop to ``progress``; of a user's own kind of loop, its two counts."""
    if hasattr(loop, "load_progress"):
        loop.load_progress(progress)
    else:
        loop.progress = progress
        loop._epoch, loop._iter = progress.epoch, progress.iter


def reseed(dataloader: DataLoader, seed: int) -> None:
    """Give ``seed`` to ``dataloader``, and to those of its samplers that have one."""
    if hasattr(dataloader, "reseed"):
        dataloader.reseed(seed)
        return
    batch_sampler: Any = dataloader.batch_sampler
    owners: tuple[Any, ...] = (
        dataloader,
        dataloader.sampler,
        batch_sampler,
        getattr(batch_sampler, "sampler", None),
    )
    for owner in owners:
        if isinstance(getattr(owner, "seed", None), int):
            owner.seed = seed
