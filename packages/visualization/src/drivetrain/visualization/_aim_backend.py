"""Runs in Aim."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
class AimVisBackend(BaseVisBackend):
    """Record with Aim.

    Args:
        save_dir: Folder of the repository of Aim.
        init_kwargs: Arguments of ``aim.Run``.

    Raises:
        MissingLibraryError: If aim is not installed.
    """

    library = "aim"

    def __init__(
        self, save_dir: str | None = None, init_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(save_dir)
        self._init_kwargs = dict(init_kwargs or {})

    def _init_env(self) -> None:
        from aim import Run  # pyrefly: ignore[missing-import]  # an extra, and slow to load

        if self._save_dir is not None:
            os.makedirs(self._save_dir, exist_ok=True)
            self._init_kwargs.setdefault("repo", self._save_dir)
        self._run = Run(**self._init_kwargs)

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The ``aim.Run``."""
        return self._run

    @force_init_env
    def add_config(self, config: ConfigLike, **kwargs: Any) -> None:
        """Record the values of the config as hyperparameters."""
        self._run["hparams"] = config_dict(config)

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an image."""
        from aim import Image  # pyrefly: ignore[missing-import]  # loaded: a run has begun

        self._run.track(Image(checked_image(name, image)), name=name, step=step)

    @force_init_env
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a number."""
        self._run.track(number(name, value), name=name, step=step)

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
        for name, value in numbers.items():
            self._run.track(value, name=name, step=at)

    def close(self) -> None:
        """Close the run."""
        if self._env_initialized:
            self._run.close()
            self._env_initialized = False
