"""An image that one draws on, pixel for pixel of the size of the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain.visualization._errors import DrawingError, DrawingTypeError, NoImageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

DPI = 100
ROUND_UP = 1e-6  # pixels: a size that falls a hair short of an integer would lose a row


class Canvas:
    """A figure without margins; one unit of its axes is one pixel of the image.

    Args:
        figure_options: Keywords of the matplotlib figure.
    """

    def __init__(self, figure_options: Mapping[str, Any]) -> None:
        self._options = dict(figure_options)
        self._image: np.ndarray | None = None
        self._touched = False
        self._layers = 0
        self._figure: Figure | None = None
        self._axes: Axes | None = None

    @property
    def image(self) -> np.ndarray:
        """The image without the drawings.

        Raises:
            NoImageError: If there is none.
        """
        if self._image is None:
            raise NoImageError(
                "there is no image yet. Pass one: Visualizer(image=...), or set_image(image)."
            )
        return self._image

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.image.shape[:2]
        return width, height

    @property
    def axes(self) -> Axes:
        """Where to draw."""
        image = self.image
        if self._figure is None or self._axes is None:
            self._figure, self._axes = self._new_figure()
        if not self._touched:
            self._touched = True
            self._show(self._figure, self._axes, image)
        return self._axes

    def next_layer(self) -> int:
        """Return an order that puts what is drawn next above all that was drawn before."""
        self._layers += 1
        return self._layers

    def set_image(self, image: np.ndarray) -> None:
        """Begin anew with another image."""
        self._image = checked_rgb(image)
        self._touched = False

    def paint(self, image: np.ndarray) -> None:
        """Replace all that was drawn by an image of the same size."""
        axes = self.axes
        assert self._figure is not None
        self._show(self._figure, axes, image)

    def to_array(self) -> np.ndarray:
        """Return the image with the drawings, ``(H, W, 3)`` uint8."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # heavy: only who draws pays

        if self._figure is None or not self._touched:
            return self.image.copy()
        return img_from_canvas(FigureCanvasAgg(self._figure))

    def close(self) -> None:
        """Let go of the image and of the figure."""
        self._figure, self._axes, self._image, self._touched = None, None, None, False

    def _new_figure(self) -> tuple[Figure, Axes]:
        from matplotlib.figure import Figure  # heavy: only who draws pays

        options: dict[str, Any] = {"dpi": DPI, **self._options}
        figure = Figure(**options)
        figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
        axes = figure.add_subplot()
        axes.set_axis_off()
        return figure, axes

    def _show(self, figure: Figure, axes: Axes, image: np.ndarray) -> None:
        width, height = self.size
        axes.cla()
        axes.set_axis_off()
        figure.set_size_inches((width + ROUND_UP) / figure.dpi, (height + ROUND_UP) / figure.dpi)
        axes.imshow(image, extent=(0, width, height, 0), interpolation="nearest")
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_autoscale_on(False)  # what is drawn beyond the image must not shrink it


def checked_rgb(image: Any) -> np.ndarray:
    """Return an image as ``(H, W, 3)`` uint8; gray ones become RGB.

    Raises:
        DrawingTypeError: If it is no numpy array.
        DrawingError: If its shape is none of an image.
    """
    if not isinstance(image, np.ndarray):
        raise DrawingTypeError(f"an image must be a numpy array, got {type(image).__name__}")
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DrawingError(f"an image must have shape (H, W, 3) or (H, W), got {image.shape}")
    return image.astype(np.uint8)


def img_from_canvas(canvas: FigureCanvasAgg) -> np.ndarray:
    """Return what a matplotlib canvas shows, ``(H, W, 3)`` uint8."""
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
