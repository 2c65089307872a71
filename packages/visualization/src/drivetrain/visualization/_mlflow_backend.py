"""Runs on MLflow."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
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

MAX_PARAM_CHARACTERS = 6000  # what MLflow takes; the whole config is an artifact anyway


@VISBACKENDS.register_module()
class MLflowVisBackend(BaseVisBackend):
    """Record to MLflow.

    Args:
        save_dir: Folder of the records, if no ``tracking_uri`` is given.
        exp_name: Experiment of MLflow that the run belongs to; ``"drivetrain"`` by default.
        run_name: Name of the run; made up by MLflow by default.
        tags: Tags of the run.
        params: Parameters of the run, besides those of the config.
        tracking_uri: Where to record to, as MLflow says it. By default what the environment says
            (``MLFLOW_TRACKING_URI``), or else ``<save_dir>/mlflow.db``; look at it with
            ``mlflow ui --backend-store-uri sqlite:///<save_dir>/mlflow.db``.
        artifact_suffix: Files of the work folder to upload when the run ends, by their suffixes.
        tracked_config_keys: Which values at the top of the config to record; all by default.

    Raises:
        MissingLibraryError: If mlflow is not installed.
    """

    library = "mlflow"

    def __init__(
        self,
        save_dir: str | None,
        exp_name: str | None = None,
        run_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        tracking_uri: str | None = None,
        artifact_suffix: Sequence[str] = (".json", ".log", ".py", "yaml"),
        tracked_config_keys: Sequence[str] | None = None,
    ) -> None:
        super().__init__(save_dir)
        self._exp_name = exp_name
        self._run_name = run_name
        self._tags = dict(tags or {})
        self._params = dict(params or {})
        self._tracking_uri = tracking_uri
        self._artifact_suffix = tuple(artifact_suffix)
        self._tracked_config_keys = tracked_config_keys
        self._work_dir: str | None = None

    def _init_env(self) -> None:
        import mlflow  # pyrefly: ignore[missing-import]  # an extra, and slow to load

        self._mlflow = mlflow
        name = self._exp_name or "drivetrain"
        if self._tracking_uri is not None:
            mlflow.set_tracking_uri(self._tracking_uri)
        elif "MLFLOW_TRACKING_URI" not in os.environ and self._save_dir is not None:
            self._record_to_folder(os.path.abspath(self._save_dir), name)
        mlflow.set_experiment(name)
        self._run = mlflow.start_run(run_name=self._run_name, tags=self._tags or None)
        if self._params:
            mlflow.log_params(self._params)

    def _record_to_folder(self, folder: str, experiment: str) -> None:
        os.makedirs(folder, exist_ok=True)
        self._mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        if self._mlflow.get_experiment_by_name(experiment) is None:
            # Else MLflow would put files below the current folder.
            artifacts = Path(folder, "mlartifacts").as_uri()
            self._mlflow.create_experiment(experiment, artifact_location=artifacts)

    @property
    @force_init_env
    def experiment(self) -> Any:
        """The module ``mlflow``, with its run begun."""
        return self._mlflow

    @force_init_env
    def add_config(self, config: ConfigLike, **kwargs: Any) -> None:
        """Record the values of the config as parameters, and all of it as an artifact."""
        values = config_dict(config)
        self._work_dir = values.get("work_dir")
        if self._tracked_config_keys is not None:
            values = {key: values[key] for key in self._tracked_config_keys if key in values}
        params = {key: str(value)[:MAX_PARAM_CHARACTERS] for key, value in flat(values).items()}
        self._mlflow.log_params(params)
        self._mlflow.log_text(config.pretty_text, "config.py")

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an image as the artifact ``<name>_<step>.png``."""
        self._mlflow.log_image(checked_image(name, image), f"{name}_{step}.png")

    @force_init_env
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a number."""
        self._mlflow.log_metric(name, number(name, value), step=step)

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
        self._mlflow.log_metrics(numbers, step=at)

    def close(self) -> None:
        """Upload the files of the work folder, and end the run of MLflow."""
        if not self._env_initialized:
            return
        for file in files_to_keep(self._work_dir, self._artifact_suffix):
            self._mlflow.log_artifact(str(file))
        self._mlflow.end_run()
        self._env_initialized = False
