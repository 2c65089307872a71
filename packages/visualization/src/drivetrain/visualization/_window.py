"""Show an image in a window, until a key is pressed or some time has passed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure


class Window:
    """A window of matplotlib that is kept from one image to the next.

    Args:
        figure_options: Keywords of the matplotlib figure.
    """

    def __init__(self, figure_options: Mapping[str, Any]) -> None:
        self._options = dict(figure_options)
        self._figure: Figure | None = None

    def show(self, image: np.ndarray, title: str, wait_s: float, continue_key: str) -> int:
        """Show an image; see ``wait_continue`` for what is returned."""
        import matplotlib.pyplot as plt  # heavy; and only here may it choose a backend with windows

        if self._figure is None or not plt.fignum_exists(self._figure.number):
            self._figure = plt.figure(**self._options)
        figure = self._figure
        figure.clear()
        figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.imshow(image)
        if figure.canvas.manager is not None:
            figure.canvas.manager.set_window_title(title)
        return wait_continue(figure, wait_s, continue_key)

    def close(self) -> None:
        """Close the window."""
        if self._figure is not None:
            import matplotlib.pyplot as plt  # loaded already: there is a figure

            plt.close(self._figure)
            self._figure = None


def wait_continue(figure: Figure, timeout: float = 0, continue_key: str = " ") -> int:
    """Show a figure and wait.

    Without windows it does not wait: a notebook shows figures by itself, a server has no display.

    Args:
        figure: What to show.
        timeout: Seconds to wait; 0 waits until a key is pressed or the window closed.
        continue_key: The key that goes on.

    Returns:
        0 if the key was pressed or the time has passed, 1 if the window was closed.
    """
    import matplotlib as mpl  # heavy: only who shows pays

    backend = mpl.get_backend().lower()
    if "inline" in backend or "ipympl" in backend:
        return 0
    if backend in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template"):
        warnings.warn(
            f"matplotlib's backend {backend!r} has no windows, so nothing is shown. "
            "Record the image instead: visualizer.add_image(name, visualizer.get_image()).",
            stacklevel=4,
        )
        return 0
    return _wait(figure, timeout, continue_key)


def _wait(figure: Figure, timeout: float, continue_key: str) -> int:
    canvas = figure.canvas
    if canvas.manager is not None:
        figure.show()
    closed = False

    def on_event(event: Any) -> None:
        nonlocal closed
        closed = event.name == "close_event"
        if closed or event.key == continue_key:
            canvas.stop_event_loop()

    listening = [canvas.mpl_connect(name, on_event) for name in ("key_press_event", "close_event")]
    try:
        canvas.start_event_loop(timeout)
    finally:
        for connection in listening:
            canvas.mpl_disconnect(connection)
    return int(closed)
