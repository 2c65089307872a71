"""Tasks on ClearML."""

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
from drivetrain.visualization._config_values import config_dict, files_to_keep
from drivetrain.visualization._local_backend import checked_image

if TYPE_CHECKING:
    import numpy as np


@VISBACKENDS.register_module()
class ClearMLVisBackend(BaseVisBackend):
    """Record to ClearML.

    Args:
        save_dir: Not used: ClearML has its own folders.
        init_kwargs: Arguments of ``clearml.Task.init``, such as ``project_name`` and ``task_name``.
        artifact_suffix: Files of the work folder to upload when the run ends, by their suffixes.

    Raises:
        MissingLibraryError: If clearml is not installed.
    """

    library = "clearml"

    def __init__(
        self,
        save_dir: str | None = None,
        init_kwargs: Mapping[str, Any] | None = None,
        artifact_suffix: Sequence[str] = (".py", "pth"),
    ) -> None:
        super().__init__(save_dir)
        self._init_kwargs = dict(init_kwargs or {})
        self._artifact_suffix = tuple(artifact_suffix)
        self._work_dir: str | None = None

    def _init_env(self) -> None:
        import clearml  # pyrefly: ignore[missing-import]  # an extra, and slow to load

        self._task = clearml.Task.init(**self._init_kwargs)
        self._logger = self._task.get_logger()
        self._clearml = clearml

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The module ``clearml``, with its task begun."""
        return self._clearml

    @force_init_env
    def add_config(self, config: ConfigLike, **kwargs: Any) -> None:
        """Record the values of the config."""
        values = config_dict(config)
        self._work_dir = values.get("work_dir")
        self._task.connect_configuration(values)

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an image."""
        picture = checked_image(name, image)
        self._logger.report_image(title=name, series=name, iteration=step, image=picture)

    @force_init_env
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a number."""
        self._logger.report_scalar(
            title=name, series=name, value=number(name, value), iteration=step
        )

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
            self._logger.report_scalar(title=name, series=name, value=value, iteration=at)

    def close(self) -> None:
        """Upload the files of the work folder, and end the task."""
        if not self._env_initialized:
            return
        for file in files_to_keep(self._work_dir, self._artifact_suffix):
            self._task.upload_artifact(file.name, artifact_object=str(file))
        self._task.close()
        self._env_initialized = False
