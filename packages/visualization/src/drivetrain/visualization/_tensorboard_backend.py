"""Event files for TensorBoard."""

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
from drivetrain.visualization._errors import RecordError
from drivetrain.visualization._local_backend import checked_image

if TYPE_CHECKING:
    import numpy as np
    from torch.utils.tensorboard import SummaryWriter


@VISBACKENDS.register_module()
class TensorboardVisBackend(BaseVisBackend):
    """Write event files; look at them with ``tensorboard --logdir <work_dir>``.

    Args:
        save_dir: Folder of the event files; made when first needed.

    Raises:
        MissingLibraryError: If tensorboard is not installed.
    """

    library = "tensorboard"

    def _init_env(self) -> None:
        # Heavy, and of use only where events are written. Once torch is loaded it costs what
        # tensorboard's bare event writer costs, and it is the writer that users know.
        from torch.utils.tensorboard import SummaryWriter

        if self._save_dir is None:
            raise RecordError(
                "TensorboardVisBackend: save_dir is None, so there is nowhere to write"
            )
        self._writer: SummaryWriter | None = SummaryWriter(self._save_dir)

    @property
    @force_init_env
    def experiment(self) -> SummaryWriter:
        """The ``torch.utils.tensorboard.SummaryWriter``."""
        assert self._writer is not None
        return self._writer

    def add_config(self, config: ConfigLike, **kwargs: Any) -> None:
        """Write the config as a text."""
        text = "\n".join(
            "    " + line for line in config.pretty_text.splitlines()
        )  # Markdown: code
        self.experiment.add_text("config", text)

    def add_graph(self, model: Any, data_batch: Any, **kwargs: Any) -> None:
        """Write the graph that tracing the model with a batch gives."""
        self.experiment.add_graph(model, data_batch, **kwargs)

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write an image."""
        formats = "HW" if checked_image(name, image).ndim == 2 else "HWC"
        self.experiment.add_image(name, image, step, dataformats=formats)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a number."""
        self.experiment.add_scalar(name, number(name, value), step)

    def add_scalars(
        self,
        scalar_dict: Mapping[str, Any],
        step: int = 0,
        file_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Write each number as a point of its curve; ``file_path`` is not used."""
        # Loaded by the writer already. Its names are made at run time: no type checker sees them.
        from tensorboard.compat.proto import summary_pb2

        summary: Any = summary_pb2
        writer: Any = self.experiment
        numbers, at = curves(scalar_dict, step)
        values = [summary.Summary.Value(tag=n, simple_value=v) for n, v in numbers.items()]
        # One event for all: add_scalar would wake the thread that writes for each of them.
        writer.file_writer.add_summary(summary.Summary(value=values), at)

    def close(self) -> None:
        """Write what is left, and close the event file; recording again opens a new one."""
        if self._env_initialized and self._writer is not None:
            self._writer.close()
            self._writer = None
            self._env_initialized = False
