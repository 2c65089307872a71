"""Many small pictures in one."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.visualization._errors import DrawingError
from drivetrain.visualization._style import GRID, INK, new_figure, styled

CELL_IN = 1.15  # inches


def image_grid(
    images: Sequence[Any],
    titles: Sequence[str] | None = None,
    out: str | os.PathLike[str] = "images.png",
    columns: int | None = None,
    heading: str | None = None,
) -> Path:
    """Draw pictures in rows, each with its title.

    Args:
        images: Arrays or tensors, ``(H, W)`` gray, ``(H, W, 1 or 3 or 4)`` or ``(1 or 3, H, W)``.
            Integers are taken as 0 to 255; of real numbers, those that are not all from 0 to 1 are
            spread so that the smallest is black and the largest white.
        titles: A line above each picture.
        out: Path of the picture; its suffix says the format.
        columns: Pictures in a row; by default as many as give a wide picture.
        heading: A line above all.

    Returns:
        Path of the picture.

    Raises:
        DrawingError: If there is no image, one has another shape, or the titles are not as many.
    """
    if len(images) == 0:
        raise DrawingError("image_grid: there is no image")
    if titles is not None and len(titles) != len(images):
        raise DrawingError(f"image_grid: {len(images)} images, but {len(titles)} titles")
    shown = [displayable(image, i) for i, image in enumerate(images)]
    columns = columns or min(math.ceil(math.sqrt(1.6 * len(shown))), len(shown), 12)
    rows = math.ceil(len(shown) / columns)
    path = Path(out)
    with styled():
        height = rows * (CELL_IN + (0.17 if titles else 0)) + (0.45 if heading else 0)
        figure = new_figure(max(columns * CELL_IN, 3.0 if heading else 0), height, pad_in=0.05)
        if heading:
            figure.suptitle(heading, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK)
        grid = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
        for i, axes in enumerate(grid):
            axes.set_xticks([])
            axes.set_yticks([])
            if i >= len(shown):
                axes.set_axis_off()
                continue
            axes.imshow(shown[i], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            for spine in axes.spines.values():
                spine.set(visible=True, color=GRID)
            if titles is not None:
                axes.set_title(titles[i], loc="center", fontsize=8, fontweight="normal", pad=3)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return path


def displayable(image: Any, index: int = 0) -> np.ndarray:
    """Return an image as uint8, ``(H, W)`` or ``(H, W, C)``.

    Raises:
        DrawingError: If its shape is none of an image.
    """
    array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if (array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in array.shape:
        raise DrawingError(f"image_grid: image {index} has shape {array.shape}, which is no image")
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.integer):
        return array.clip(0, 255).astype(np.uint8)
    return (_spread(array.astype(np.float64)) * 255).round().astype(np.uint8)


def _spread(array: np.ndarray) -> np.ndarray:
    finite = array[np.isfinite(array)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    if low < 0 or high > 1:
        array = (array - low) / (high - low if high > low else 1.0)
    return np.nan_to_num(array, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
