"""Draw points, lines, boxes, texts and masks on an image."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from drivetrain.visualization._arguments import (
    check_length,
    check_type_and_length,
    color_str2rgb,
    color_val_matplotlib,
    coordinates,
    tensor2ndarray,
    value2list,
)
from drivetrain.visualization._canvas import Canvas
from drivetrain.visualization._errors import DrawingError, DrawingTypeError

if TYPE_CHECKING:
    from matplotlib.collections import Collection
    from matplotlib.font_manager import FontProperties
    from torch import Tensor

    Array: TypeAlias = np.ndarray | Tensor
    Color: TypeAlias = str | tuple[float, ...]
    Colors: TypeAlias = Color | list[Color]
    Number: TypeAlias = int | float

SelfT = TypeVar("SelfT", bound="Drawing")


class Drawing:
    """The drawing half of a visualizer: each method draws one kind of thing, and can be chained.

    Coordinates are in pixels, x to the right and y down, (0, 0) is the upper left corner of the
    first pixel. Positions may be numpy arrays or tensors. What says how to draw is one value for
    all things, or a list with a value for each. Colours are names that matplotlib knows or
    tuples of RGB from 0 to 255; ``alpha`` is 0 for invisible and 1 for opaque; widths are in
    points of 1/72 inch, at 100 pixels an inch.

    Args:
        image: ``(H, W, 3)`` RGB or ``(H, W)`` gray image to draw on.
        figure_options: Keywords of the matplotlib figure.
    """

    def __init__(self, image: np.ndarray | None, figure_options: Mapping[str, Any]) -> None:
        self._canvas = Canvas(figure_options)
        if image is not None:
            self.set_image(image)

    def set_image(self, image: np.ndarray) -> None:
        """Begin anew with another image.

        Args:
            image: ``(H, W, 3)`` RGB or ``(H, W)`` gray, 0 to 255.

        Raises:
            DrawingError: If it is no image.
        """
        self._canvas.set_image(image)

    def get_image(self) -> np.ndarray:
        """Return the image with all that was drawn, ``(H, W, 3)`` RGB uint8.

        Raises:
            NoImageError: If there is no image.
        """
        return self._canvas.to_array()

    @property
    def _default_font_size(self) -> int:
        width, height = self._canvas.size
        return max(int(math.sqrt(width * height) / 90), 10)

    def draw_points(
        self: SelfT,
        positions: Array,
        colors: Colors = "g",
        marker: str | None = None,
        sizes: Array | Number | None = None,
    ) -> SelfT:
        """Draw points.

        Args:
            positions: ``(2,)`` or ``(N, 2)``, x and y.
            colors: Colour of the points.
            marker: A marker of matplotlib; a disc by default.
            sizes: Areas of the points, in square points.

        Raises:
            DrawingError: If the arguments do not fit together.
        """
        points = coordinates("positions", positions, 2)
        check_type_and_length("colors", colors, (str, tuple, list), len(points))
        axes = self._canvas.axes
        axes.scatter(
            points[:, 0],
            points[:, 1],
            c=_each(colors, len(points)),
            marker=marker,
            s=tensor2ndarray(sizes),
            zorder=self._canvas.next_layer(),
        )
        return self

    def draw_texts(
        self: SelfT,
        texts: str | list[str],
        positions: Array,
        font_sizes: Number | list[Number] | None = None,
        colors: Colors = "g",
        vertical_alignments: str | list[str] = "top",
        horizontal_alignments: str | list[str] = "left",
        font_families: str | list[str] = "sans-serif",
        bboxes: dict[str, Any] | list[dict[str, Any]] | None = None,
        font_properties: FontProperties | list[FontProperties] | None = None,
    ) -> SelfT:
        """Write texts.

        Args:
            texts: What to write.
            positions: ``(2,)`` or ``(N, 2)``, one for each text.
            font_sizes: Size of the letters in points; by default it goes with that of the image.
            colors: Colour of the letters.
            vertical_alignments: What of a text is at its position: ``"top"``, ``"center"``,
                ``"bottom"`` or ``"baseline"``.
            horizontal_alignments: ``"left"``, ``"center"`` or ``"right"``.
            font_families: ``"serif"``, ``"sans-serif"``, ``"cursive"``, ``"fantasy"``,
                ``"monospace"``, or the name of a font.
            bboxes: How to draw the box behind a text, as keywords of matplotlib's
                ``FancyBboxPatch``; no box by default.
            font_properties: Fonts of matplotlib; a font file in them wins over ``font_families``,
                the size stays that of ``font_sizes``.

        Raises:
            DrawingError: If the arguments do not fit together.
        """
        lines = [texts] if isinstance(texts, str) else texts
        points = coordinates("positions", positions, 2)
        count = len(lines)
        if len(points) != count:
            raise DrawingError(f"there are {count} texts, but {len(points)} positions")
        styles: dict[str, Any] = {
            "fontsize": font_sizes if font_sizes is not None else self._default_font_size,
            "color": colors,
            "verticalalignment": vertical_alignments,
            "horizontalalignment": horizontal_alignments,
            "fontfamily": font_families,
            "bbox": bboxes,
        }
        if font_properties is not None:
            styles["fontproperties"] = font_properties
        for name, value in styles.items():
            check_length(name, value, count)
        axes = self._canvas.axes
        for i, (text, (x, y)) in enumerate(zip(lines, points, strict=True)):
            style = {n: v[i] if isinstance(v, list) else v for n, v in styles.items()}
            style["color"] = color_val_matplotlib(style["color"])
            axes.text(float(x), float(y), text, zorder=self._canvas.next_layer(), **style)
        return self

    def draw_lines(
        self: SelfT,
        x_datas: Array,
        y_datas: Array,
        colors: Colors = "g",
        line_styles: str | list[str] = "-",
        line_widths: Number | list[Number] = 2,
    ) -> SelfT:
        """Draw straight lines.

        Args:
            x_datas: ``(2,)`` or ``(N, 2)``, the x of the two ends of each line.
            y_datas: The y of the two ends.
            colors: Colour of the lines.
            line_styles: Styles of matplotlib, as ``"-"`` or ``"--"``.
            line_widths: Widths in points.

        Raises:
            DrawingError: If the arguments do not fit together.
        """
        from matplotlib.collections import LineCollection  # heavy: only who draws pays

        xs, ys = coordinates("x_datas", x_datas, 2), coordinates("y_datas", y_datas, 2)
        if xs.shape != ys.shape:
            raise DrawingError(f"x_datas and y_datas differ in shape: {xs.shape} and {ys.shape}")
        ends = np.stack((xs, ys), axis=2)
        self._warn_outside("line", ends.reshape(-1, 2))
        style = _line_style(len(ends), colors, line_styles, line_widths)
        lines = LineCollection(
            list(ends), colors=style.colors, linestyles=style.styles, linewidths=style.widths
        )
        self._add(lines)
        return self

    def draw_circles(
        self: SelfT,
        center: Array,
        radius: Array | Number,
        edge_colors: Colors = "g",
        line_styles: str | list[str] = "-",
        line_widths: Number | list[Number] = 2,
        face_colors: Colors = "none",
        alpha: float = 0.8,
    ) -> SelfT:
        """Draw circles.

        Args:
            center: ``(2,)`` or ``(N, 2)``.
            radius: One for each circle, in pixels.
            edge_colors: Colour of the rims.
            line_styles: Styles of matplotlib.
            line_widths: Widths in points.
            face_colors: Colour inside; ``"none"`` leaves it as it is.
            alpha: How opaque the circles are.

        Raises:
            DrawingError: If the arguments do not fit together.
        """
        from matplotlib.collections import PatchCollection  # heavy: only who draws pays
        from matplotlib.patches import Circle

        centers = coordinates("center", center, 2)
        radii = np.atleast_1d(tensor2ndarray(radius))
        if radii.shape != (len(centers),):
            raise DrawingError(f"there are {len(centers)} centers, but radius has {radii.shape}")
        extents = np.repeat(radii[:, None], 2, axis=1)
        self._warn_outside("circle", np.concatenate((centers - extents, centers + extents)))
        style = _line_style(len(centers), edge_colors, line_styles, line_widths)
        circles = [Circle((x, y), r) for (x, y), r in zip(centers, radii, strict=True)]
        collection = PatchCollection(
            circles,
            facecolors=_each(face_colors, len(centers)),
            edgecolors=style.colors,
            linestyles=style.styles,
            linewidths=style.widths,
            alpha=alpha,
        )
        self._add(collection)
        return self

    def draw_bboxes(
        self: SelfT,
        bboxes: Array,
        edge_colors: Colors = "g",
        line_styles: str | list[str] = "-",
        line_widths: Number | list[Number] = 2,
        face_colors: Colors = "none",
        alpha: float | list[float] = 0.8,
    ) -> SelfT:
        """Draw boxes.

        Args:
            bboxes: ``(4,)`` or ``(N, 4)``: x and y of the upper left, then of the lower right
                corner.
            edge_colors: Colour of the rims.
            line_styles: Styles of matplotlib.
            line_widths: Widths in points.
            face_colors: Colour inside; ``"none"`` leaves it as it is.
            alpha: How opaque the boxes are.

        Raises:
            DrawingError: If the arguments do not fit together.
        """
        boxes = coordinates("bboxes", bboxes, 4)
        if (boxes[:, :2] > boxes[:, 2:]).any():
            first = boxes[(boxes[:, :2] > boxes[:, 2:]).any(axis=1)][0]
            raise DrawingError(
                f"a box must go from its upper left to its lower right corner, got {first.tolist()}"
            )
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        return self.draw_polygons(
            list(corners), edge_colors, line_styles, line_widths, face_colors, alpha
        )

    def draw_polygons(
        self: SelfT,
        polygons: Array | Sequence[Array],
        edge_colors: Colors = "g",
        line_styles: str | list[str] = "-",
        line_widths: Number | list[Number] = 2,
        face_colors: Colors = "none",
        alpha: float | list[float] = 0.8,
    ) -> SelfT:
        """Draw polygons, which close by themselves.

        Args:
            polygons: The corners of one, ``(K, 2)`` or ``(x1, y1, x2, y2, ...)``; or a list of
                these.
            edge_colors: Colour of the rims.
            line_styles: Styles of matplotlib.
            line_widths: Widths in points.
            face_colors: Colour inside; ``"none"`` leaves it as it is.
            alpha: How opaque the polygons are.

        Raises:
            DrawingError: If the arguments do not fit together.
        """
        from matplotlib.collections import PolyCollection  # heavy: only who draws pays

        alone = not isinstance(polygons, (list, tuple))
        corners = [_corners(polygon) for polygon in ([polygons] if alone else polygons)]
        count = len(corners)
        if not corners:
            return self
        self._warn_outside("polygon", np.concatenate(corners))
        check_length("alpha", alpha, count)
        style = _line_style(count, edge_colors, line_styles, line_widths)
        collection = PolyCollection(
            corners,
            facecolors=_each(face_colors, count),
            edgecolors=style.colors,
            linestyles=style.styles,
            linewidths=style.widths,
            alpha=alpha,
        )
        self._add(collection)
        return self

    def draw_binary_masks(
        self: SelfT,
        binary_masks: Array,
        colors: Colors | np.ndarray = "g",
        alphas: float | list[float] = 0.8,
    ) -> SelfT:
        """Colour the pixels of masks.

        Args:
            binary_masks: ``(H, W)`` or ``(N, H, W)`` of the size of the image; bool, or 0 and 1 in
                uint8.
            colors: Colour of the masks; an array ``(3,)`` or ``(N, 3)`` of RGB will do, too.
            alphas: How opaque the masks are.

        Raises:
            DrawingError: If the masks have another size or type.
        """
        masks = _masks(binary_masks, self._canvas.size)
        if isinstance(colors, np.ndarray):
            rgb = colors.tolist()
            colors = [tuple(color) for color in rgb] if colors.ndim == 2 else tuple(rgb)
        check_type_and_length("colors", colors, (str, tuple, list), len(masks))
        check_length("alphas", alphas, len(masks))
        image = self.get_image().astype(np.float64)
        shades = zip(
            masks, value2list(colors, (str, tuple), len(masks)),
            value2list(alphas, (int, float), len(masks)), strict=False,
        )  # fmt: skip
        for mask, color, alpha in shades:
            rgb = np.asarray(color_str2rgb(color) if isinstance(color, str) else color)
            image[mask] = (1 - alpha) * image[mask] + alpha * rgb[:3]
        self._canvas.paint(image.round().astype(np.uint8))
        return self

    def _add(self, collection: Collection) -> None:
        collection.set_zorder(self._canvas.next_layer())
        self._canvas.axes.add_collection(collection)

    def _warn_outside(self, thing: str, points: np.ndarray) -> None:
        if (points < 0).any() or (points > self._canvas.size).any():
            warnings.warn(
                f"a {thing} reaches beyond the image; what is outside will not be seen",
                stacklevel=3,
            )


def _each(colors: Any, count: int) -> list[Any]:
    """Return a colour for each thing, as matplotlib takes it."""
    check_type_and_length("colors", colors, (str, tuple, list), count)
    return color_val_matplotlib(value2list(colors, (str, tuple), count))


class LineStyle(NamedTuple):
    """How to draw each of several lines or rims."""

    colors: list[Any]
    styles: list[str]
    widths: list[float]


def _line_style(count: int, colors: Any, styles: Any, widths: Any) -> LineStyle:
    check_type_and_length("colors", colors, (str, tuple, list), count)
    check_type_and_length("line_styles", styles, (str, list), count)
    check_type_and_length("line_widths", widths, (int, float, list), count)
    return LineStyle(
        _each(colors, count),
        value2list(styles, str, count),
        value2list(widths, (int, float), count),
    )


def _corners(polygon: Any) -> np.ndarray:
    array = tensor2ndarray(polygon)
    if not isinstance(array, np.ndarray):
        raise DrawingTypeError(
            f"a polygon must be an array or a tensor, got {type(array).__name__}"
        )
    if array.ndim == 1 and len(array) % 2 == 0:
        array = array.reshape(-1, 2)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) < 2:
        raise DrawingError(f"a polygon must have shape (K, 2), or x1, y1, x2, ...: {array.shape}")
    return array


def _masks(binary_masks: Any, size: tuple[int, int]) -> np.ndarray:
    masks = tensor2ndarray(binary_masks)
    if not isinstance(masks, np.ndarray) or masks.dtype not in (np.bool_, np.uint8):
        kind = getattr(masks, "dtype", type(masks).__name__)
        raise DrawingTypeError(f"binary_masks must be an array of bool or uint8, got {kind}")
    if masks.ndim == 2:
        masks = masks[None]
    if masks.ndim != 3 or masks.shape[:0:-1] != size:
        raise DrawingError(
            f"binary_masks must be (H, W) or (N, H, W) of the size of the image, "
            f"which is {size[1]} x {size[0]}, got {masks.shape}"
        )
    if masks.max(initial=0) > 1:
        raise DrawingError("binary_masks must hold 0 and 1 only")
    return masks.astype(bool)
