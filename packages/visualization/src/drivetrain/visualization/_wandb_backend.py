"""Runs on Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from drivetrain.registry import VISBACKENDS
from drivetrain.visualization._backend import (
    BaseVisBackend,
    ConfigLike,
    curves,
    force_init_env,
    number,
)
from drivetrain.visualization._config_values import config_dict
from drivetrain.visualization._local_backend import checked_image

if TYPE_CHECKING:
    import numpy as np


@VISBACKENDS.register_module()
class WandbVisBackend(BaseVisBackend):
    """Record to Weights & Biases; ``WANDB_MODE=offline`` writes files to upload later.

    The x axis of all curves is ``step``, the step of the run, which survives a resume. To continue
    a run of wandb, give its ``id`` and ``resume="must"`` in ``init_kwargs``.

    Args:
        save_dir: Folder of the files that wandb writes.
        init_kwargs: Arguments of ``wandb.init``.
        define_metric_cfg: For each metric its summary (``"max"``, ``"min"``, ...), as
            ``{"coco/bbox_mAP": "max"}``; or a list of arguments of ``wandb.define_metric``.
        commit: Whether a record ends a step of wandb; else it waits for the next record.
        watch_kwargs: Arguments of ``wandb.watch``; used by ``add_graph``.

    Raises:
        MissingLibraryError: If wandb is not installed.
    """

    library = "wandb"

    def __init__(
        self,
        save_dir: str | None = None,
        init_kwargs: Mapping[str, Any] | None = None,
        define_metric_cfg: Mapping[str, str] | Sequence[Mapping[str, Any]] | None = None,
        commit: bool = True,
        watch_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(save_dir)
        self._init_kwargs = dict(init_kwargs or {})
        self._define_metric_cfg = define_metric_cfg
        self._commit = commit
        self._watch_kwargs = dict(watch_kwargs or {})

    def _init_env(self) -> None:
        import wandb  # pyrefly: ignore[missing-import]  # an extra, and slow to load

        if self._save_dir is not None:
            os.makedirs(self._save_dir, exist_ok=True)
            self._init_kwargs.setdefault("dir", self._save_dir)
        self._wandb = wandb
        self._run = wandb.init(**self._init_kwargs)
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        metrics = self._define_metric_cfg or ()
        if isinstance(metrics, Mapping):
            metrics = [{"name": name, "summary": summary} for name, summary in metrics.items()]
        for metric in metrics:
            self._run.define_metric(**{"step_metric": "step", **metric})

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The module ``wandb``, with its run begun."""
        return self._wandb

    @force_init_env
    def add_config(self, config: ConfigLike, **kwargs: Any) -> None:
        """Record the values of the config."""
        self._run.config.update(config_dict(config), allow_val_change=True)

    @force_init_env
    def add_graph(self, model: Any, data_batch: Any = None, **kwargs: Any) -> None:
        """Let wandb watch the model: its graph and, as ``watch_kwargs`` say, its gradients."""
        self._run.watch(model, **{**self._watch_kwargs, **kwargs})

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an image."""
        picture = self._wandb.Image(checked_image(name, image))
        self._run.log({name: picture, "step": step}, commit=self._commit)

    @force_init_env
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a number."""
        self._run.log({name: number(name, value), "step": step}, commit=self._commit)

    @force_init_env
    def add_scalars(
        self,
        scalar_dict: Mapping[str, Any],
        step: int = 0,
        file_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the numbers of one step; ``file_path`` is not used."""
        numbers, at = curves(scalar_dict, step)
        self._run.log({**numbers, "step": at}, commit=self._commit)

    def close(self) -> None:
        """Finish the run of wandb."""
        if self._env_initialized:
            self._run.finish()
            self._env_initialized = False
