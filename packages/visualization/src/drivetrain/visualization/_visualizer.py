"""The visualizer: draws on images, and hands what a run produces to its trackers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from drivetrain.registry import VISUALIZERS, ManagerMixin
from drivetrain.visualization._backend import BaseVisBackend, ConfigLike
from drivetrain.visualization._drawing import Drawing
from drivetrain.visualization._featmap import draw_featmap
from drivetrain.visualization._trackers import Trackers, build_backends
from drivetrain.visualization._window import Window

if TYPE_CHECKING:
    import numpy as np

SelfT = TypeVar("SelfT", bound="Visualizer")
MethodT = TypeVar("MethodT", bound=Callable[..., None])


@VISUALIZERS.register_module()
class Visualizer(Drawing, ManagerMixin):
    """Draw on images, and record a run with any number of trackers.

    What is recorded goes to each tracker, from the first process only. A tracker that fails is
    left out with a warning; the run goes on.

    Args:
        name: Name of this instance; ``Visualizer.get_current_instance()`` finds it from anywhere.
        image: ``(H, W, 3)`` RGB or ``(H, W)`` gray image to draw on.
        vis_backends: Trackers, or their config nodes, as a list or by name.
        save_dir: Trackers write to ``<save_dir>/vis_data``. Without it, those that need a folder
            record nothing.
        fig_save_cfg: Keywords of the matplotlib figure that is drawn on; ``{"frameon": False}`` by
            default.
        fig_show_cfg: Keywords of the matplotlib figure that ``show`` opens; the same by default.

    Raises:
        DuplicateBackendError: If two trackers have the same name.
        DrawingError: If ``image`` is no image.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> visualizer = Visualizer(vis_backends=[dict(type="LocalVisBackend")], save_dir=folder)
        >>> visualizer.add_scalar("accuracy", 98.5, step=100)
        >>> visualizer.close()
        >>> print((folder / "vis_data" / "scalars.json").read_text(), end="")
        {"accuracy": 98.5, "step": 100}
    """

    def __init__(
        self,
        name: str = "visualizer",
        image: np.ndarray | None = None,
        vis_backends: Iterable[Any] | Mapping[str, Any] | None = None,
        save_dir: str | os.PathLike[str] | None = None,
        fig_save_cfg: Mapping[str, Any] | None = None,
        fig_show_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        ManagerMixin.__init__(self, name)
        Drawing.__init__(self, image, {"frameon": False} if fig_save_cfg is None else fig_save_cfg)
        self._window = Window({"frameon": False} if fig_show_cfg is None else fig_show_cfg)
        folder = None if save_dir is None else os.path.join(save_dir, "vis_data")
        self._trackers = Trackers(build_backends(vis_backends, folder))
        self._dataset_meta: dict[str, Any] | None = None

    @classmethod
    def get_instance(cls: type[SelfT], name: str, **kwargs: Any) -> SelfT:
        """Return the instance of that name, made if there is none.

        An instance of a subclass is also found as one of ``Visualizer``, so code that does not know
        the subclass reaches it by ``Visualizer.get_current_instance()``.
        """
        instance = super().get_instance(name, **kwargs)
        Visualizer._instance_dict[name] = instance
        return instance  # pyrefly: ignore[bad-return]

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """What the dataset says about itself, such as class names and colours."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any] | None) -> None:
        self._dataset_meta = dataset_meta

    @property
    def _vis_backends(self) -> dict[str, BaseVisBackend]:
        return self._trackers.by_name

    def get_backend(self, name: str) -> BaseVisBackend:
        """Return a tracker.

        Args:
            name: Its ``name`` in the config, else the name of its class.

        Raises:
            UnknownBackendError: If there is none of that name.
        """
        return self._trackers[name]

    def add_config(self, config: ConfigLike, **kwargs: Any) -> None:
        """Record the config of the run."""
        self._trackers.call("add_config", config, **kwargs)

    def add_graph(self, model: Any, data_batch: Any, **kwargs: Any) -> None:
        """Record the structure of a model, by calling it with ``data_batch``."""
        self._trackers.call("add_graph", model, data_batch, **kwargs)

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an image.

        Args:
            name: What it shows.
            image: ``(H, W, 3)`` RGB or ``(H, W)`` gray, uint8.
            step: When in the run.
            **kwargs: For the trackers.
        """
        self._trackers.call("add_image", name, image, step, **kwargs)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a number: of Python or numpy, or in a tensor of one element."""
        self._trackers.call("add_scalar", name, value, step, **kwargs)

    def add_scalars(
        self,
        scalar_dict: Mapping[str, Any],
        step: int = 0,
        file_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Record several numbers of one step.

        Args:
            scalar_dict: Numbers by name. A ``step`` among them stands before the argument.
            step: When in the run.
            file_path: A JSON file that gets them, too, from trackers that write files.
            **kwargs: For the trackers.
        """
        self._trackers.call("add_scalars", scalar_dict, step, file_path, **kwargs)

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Any = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: int = 0,
        step: int = 0,
    ) -> None:
        """Draw a sample with its labels and predictions, and record the picture.

        How that looks depends on the task, so a subclass says it; this one does nothing.

        Args:
            name: What the picture shows.
            image: ``(H, W, 3)`` RGB.
            data_sample: A data element with ground truth and predictions.
            draw_gt: Whether to draw the ground truth.
            draw_pred: Whether to draw the predictions.
            show: Whether to open a window, instead of recording.
            wait_time: How long the window stays, in milliseconds; 0 waits for a key.
            step: When in the run.
        """

    draw_featmap = staticmethod(draw_featmap)

    def show(
        self,
        drawn_img: np.ndarray | None = None,
        win_name: str = "image",
        wait_time: float = 0.0,
        continue_key: str = " ",
    ) -> None:
        """Open a window with an image, and wait.

        Where there are no windows, as on a server, there is a warning instead.

        Args:
            drawn_img: The image; by default the one that was drawn on.
            win_name: Title of the window.
            wait_time: How long to wait, in milliseconds; 0 waits for the key.
            continue_key: The key that goes on.

        Raises:
            NoImageError: If there is no image.
        """
        image = self.get_image() if drawn_img is None else drawn_img
        self._window.show(image, win_name, wait_time / 1000, continue_key)

    def close(self) -> None:
        """Let all trackers write what is left, and let go of images and windows."""
        self._trackers.call("close")
        self._window.close()
        self._canvas.close()
