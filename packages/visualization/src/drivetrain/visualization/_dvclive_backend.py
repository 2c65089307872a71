"""Experiments of DVC."""

from __future__ import annotations

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
from drivetrain.visualization._config_values import config_dict, files_to_keep, flat
from drivetrain.visualization._local_backend import checked_image

if TYPE_CHECKING:
    import numpy as np


@VISBACKENDS.register_module()
class DVCLiveVisBackend(BaseVisBackend):
    """Record with DVCLive.

    Args:
        save_dir: Folder of the records.
        artifact_suffix: Files of the work folder to record when the run ends, by their suffixes;
            inside of a DVC repository only.
        init_kwargs: Arguments of ``dvclive.Live``.

    Raises:
        MissingLibraryError: If dvclive is not installed.
    """

    library = "dvclive"

    def __init__(
        self,
        save_dir: str | None,
        artifact_suffix: Sequence[str] = (".json", ".py", "yaml"),
        init_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(save_dir)
        self._artifact_suffix = tuple(artifact_suffix)
        self._init_kwargs = {"dir": save_dir, **(init_kwargs or {})}
        self._work_dir: str | None = None

    def _init_env(self) -> None:
        from dvclive import Live  # pyrefly: ignore[missing-import]  # an extra, and slow to load

        self._live = Live(**self._init_kwargs)

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The ``dvclive.Live``."""
        return self._live

    @force_init_env
    def add_config(self, config: ConfigLike, **kwargs: Any) -> None:
        """Record the values of the config as parameters."""
        values = config_dict(config)
        self._work_dir = values.get("work_dir")
        self._live.log_params({n: "None" if v is None else v for n, v in flat(values).items()})

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an image."""
        self._live.step = step
        self._live.log_image(f"{name}.png", checked_image(name, image))

    @force_init_env
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a number."""
        self._live.step = step
        self._live.log_metric(name, number(name, value))

    @force_init_env
    def add_scalars(
        self,
        scalar_dict: Mapping[str, Any],
        step: int = 0,
        file_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the numbers of one step; ``file_path`` is not used."""
        numbers, self._live.step = curves(scalar_dict, step)
        for name, value in numbers.items():
            self._live.log_metric(name, value)
        self._live.make_summary()

    def close(self) -> None:
        """Record the files of the work folder, and end the experiment."""
        if not self._env_initialized:
            return
        for file in files_to_keep(self._work_dir, self._artifact_suffix):
            self._live.log_artifact(file)
        self._live.end()
        self._env_initialized = False
