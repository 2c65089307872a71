"""How our pictures look: one palette, thin axes, room to breathe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Formatter

INK = "#1f2933"
MUTED = "#7b8794"
GRID = "#e4e7eb"
ACCENT = "#d64545"  # what the reader should see first: the best value
# Told apart by readers who do not see all colours (after Okabe and Ito, 2008).
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8d6e63", "#5e35b1")

SETTINGS: dict[str, Any] = {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 8,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "white",
    "legend.fancybox": False,
    "savefig.dpi": 150,
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
}


def new_figure(width_in: float, height_in: float, pad_in: float = 0.12) -> Figure:
    """Return a figure that is drawn in memory, with no window and no global state.

    Use it inside of ``with styled():``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # heavy: only who draws pays
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=pad_in, h_pad=pad_in * 2 / 3)
    figure = Figure(figsize=(width_in, height_in), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def styled() -> Any:
    """Return a context in which matplotlib draws in our style."""
    import matplotlib as mpl  # heavy: see above

    return mpl.rc_context(SETTINGS)


def plain_numbers() -> Formatter:
    """Return a formatter of tick labels without a common factor at the end of the axis."""
    from matplotlib.ticker import FuncFormatter  # heavy: see above

    return FuncFormatter(lambda value, _: f"{value:g}")


def quiet_axes(axes: Axes) -> None:
    """Put a light horizontal grid behind the curves, and leave a little room beside them."""
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    axes.tick_params(length=3)
