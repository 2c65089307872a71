"""Pictures of feature maps: as a heat map, or channel by channel."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from drivetrain.visualization._arguments import tensor2ndarray
from drivetrain.visualization._canvas import checked_rgb, img_from_canvas
from drivetrain.visualization._errors import DrawingError, DrawingTypeError

if TYPE_CHECKING:
    from torch import Tensor

    Reduction: TypeAlias = Literal["squeeze_mean", "select_max"] | None


def draw_featmap(
    featmap: Tensor,
    overlaid_image: np.ndarray | None = None,
    channel_reduction: Reduction = "squeeze_mean",
    topk: int = 20,
    arrangement: tuple[int, int] = (4, 5),
    resize_shape: tuple[int, int] | None = None,
    alpha: float = 0.5,
) -> np.ndarray:
    """Draw a feature map as a heat map, blue where it is low and red where it is high.

    Args:
        featmap: ``(C, H, W)``.
        overlaid_image: Image to lay the heat map over; the map is resized to it.
        channel_reduction: ``"squeeze_mean"`` shows the mean of the channels, ``"select_max"`` the
            one with the largest sum, None the channels one by one.
        topk: How many channels to show without a reduction, those with the largest sums; 0 or less
            takes a map of one or three channels as an image.
        arrangement: Rows and columns of the channels.
        resize_shape: Height and width to bring map and image to.
        alpha: How opaque the heat map is over the image.

    Returns:
        ``(H, W, 3)`` RGB, uint8.

    Raises:
        DrawingTypeError: If ``featmap`` is no tensor.
        DrawingError: If the arguments do not fit together.
    """
    if not hasattr(featmap, "detach"):
        raise DrawingTypeError(f"featmap must be a tensor, got {type(featmap).__name__}")
    if featmap.ndim != 3:
        raise DrawingError(f"featmap must have shape (C, H, W), got {tuple(featmap.shape)}")
    if channel_reduction not in ("squeeze_mean", "select_max", None):
        raise DrawingError(
            "channel_reduction must be 'squeeze_mean', 'select_max' or None, "
            f"got {channel_reduction!r}"
        )
    channels = featmap.detach().cpu().float()
    image = None if overlaid_image is None else checked_rgb(overlaid_image)
    channels, image = _of_one_size(channels, image, resize_shape)
    if channel_reduction == "squeeze_mean":
        return convert_overlay_heatmap(channels.mean(dim=0), image, alpha)
    if channel_reduction == "select_max":
        strongest = int(channels.sum(dim=(1, 2)).argmax())
        return convert_overlay_heatmap(channels[strongest], image, alpha)
    if topk <= 0:
        if len(channels) not in (1, 3):
            raise DrawingError(
                f"a featmap of {len(channels)} channels is no image. Show some of them (topk > 0), "
                "or reduce them (channel_reduction)."
            )
        return convert_overlay_heatmap(channels.mean(dim=0), image, alpha)
    return _draw_channels(channels, image, min(topk, len(channels)), arrangement, alpha)


def convert_overlay_heatmap(
    feat_map: np.ndarray | Tensor, img: np.ndarray | None = None, alpha: float = 0.5
) -> np.ndarray:
    """Return a map as colours from blue (its lowest value) to red (its highest).

    Args:
        feat_map: ``(H, W)``, or ``(1, H, W)`` or more channels, whose mean counts.
        img: ``(H, W, 3)`` image to lay it over.
        alpha: How opaque the colours are over the image.

    Returns:
        ``(H, W, 3)`` RGB, uint8.

    Raises:
        DrawingError: If map and image differ in size.
    """
    heat = np.asarray(tensor2ndarray(feat_map), dtype=np.float64)
    if heat.ndim > 2:
        heat = heat.mean(axis=0)
    spread = heat.max() - heat.min()
    heat = (heat - heat.min()) / spread if spread > 0 else np.zeros_like(heat)
    colors = _jet(heat)
    if img is not None:
        if img.shape[:2] != heat.shape:
            raise DrawingError(f"the map is {heat.shape}, but the image is {img.shape[:2]}")
        colors = (1 - alpha) * checked_rgb(img) + alpha * colors
    return colors.round().astype(np.uint8)


def _jet(heat: np.ndarray) -> np.ndarray:
    """Colours of OpenCV's JET for values from 0 to 1, in 256 steps: RGB from 0 to 255."""
    steps = np.floor(heat * 255)[..., None]
    return np.rint(np.clip(382.5 - np.abs(4 * steps - (765, 510, 255)), 0, 255))


def _of_one_size(
    channels: Tensor, image: np.ndarray | None, shape: tuple[int, int] | None
) -> tuple[Tensor, np.ndarray | None]:
    """Bring the map to ``shape`` or else to the size of the image, and the image to ``shape``."""
    from PIL import Image  # heavy: only who draws pays

    if image is not None and shape is None and image.shape[:2] != tuple(channels.shape[1:]):
        warnings.warn(
            f"the feature map {tuple(channels.shape[1:])} is resized to the image "
            f"{image.shape[:2]}",
            stacklevel=3,
        )
        shape = image.shape[0], image.shape[1]
    if shape is not None and tuple(channels.shape[1:]) != tuple(shape):
        channels = _resized(channels, shape)
    if image is not None and shape is not None and image.shape[:2] != tuple(shape):
        resized = Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
        image = np.asarray(resized)
    return channels, image


def _resized(channels: Tensor, shape: tuple[int, int]) -> Tensor:
    from torch.nn.functional import interpolate  # there is a tensor, so torch is loaded

    return interpolate(channels[None], tuple(shape), mode="bilinear", align_corners=False)[0]


def _draw_channels(
    channels: Tensor,
    image: np.ndarray | None,
    count: int,
    arrangement: tuple[int, int],
    alpha: float,
) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # heavy: only who draws pays
    from matplotlib.figure import Figure

    rows, columns = arrangement
    if rows * columns < count:
        raise DrawingError(
            f"{count} channels do not fit into {rows} rows of {columns}. "
            "Give more (arrangement), or show fewer (topk)."
        )
    strongest = channels.sum(dim=(1, 2)).topk(count).indices.tolist()
    figure = Figure(figsize=(2 * columns, 2.2 * rows), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for axes in (grid := figure.subplots(rows, columns, squeeze=False).flatten()):
        axes.set_axis_off()
    for axes, channel in zip(grid, strongest, strict=False):  # the last row may not be full
        axes.imshow(convert_overlay_heatmap(channels[channel], image, alpha))
        axes.set_title(f"channel: {channel}", fontsize=9)
    return img_from_canvas(canvas)
