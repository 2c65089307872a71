"""Runs on neptune.ai."""

from __future__ import annotations

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
from drivetrain.visualization._config_values import config_dict, flat
from drivetrain.visualization._local_backend import checked_image

if TYPE_CHECKING:
    import numpy as np


@VISBACKENDS.register_module()
class NeptuneVisBackend(BaseVisBackend):
    """Record to Neptune.

    Args:
        save_dir: Not used: Neptune has its own folders.
        init_kwargs: Arguments of ``neptune.init_run``. Without a ``project`` the run is offline.

    Raises:
        MissingLibraryError: If neptune is not installed.
    """

    library = "neptune"

    def __init__(
        self, save_dir: str | None = None, init_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(save_dir)
        self._init_kwargs = dict(init_kwargs or {})

    def _init_env(self) -> None:
        import neptune  # pyrefly: ignore[missing-import]  # an extra, and slow to load

        if "project" not in self._init_kwargs:
            self._init_kwargs.setdefault("mode", "offline")
        self._run = neptune.init_run(**self._init_kwargs)

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The run of Neptune."""
        return self._run

    @force_init_env
    def add_config(self, config: ConfigLike, **kwargs: Any) -> None:
        """Record the values of the config below ``config/``."""
        for name, value in flat(config_dict(config)).items():
            plain = isinstance(value, (bool, int, float, str))
            self._run[f"config/{name.replace('.', '/')}"] = value if plain else str(value)

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an image below ``images/``."""
        from neptune.types import File  # pyrefly: ignore[missing-import]  # loaded: a run began

        # From 0 to 1: Neptune warns of brightness from 0 to 255.
        picture = File.as_image(checked_image(name, image) / 255)
        self._run[f"images/{name}"].append(picture, step=step)

    @force_init_env
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a number."""
        self._run[name].append(number(name, value), step=step)

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
            self._run[name].append(value, step=at)

    def close(self) -> None:
        """Stop the run of Neptune."""
        if self._env_initialized:
            self._run.stop()
            self._env_initialized = False
