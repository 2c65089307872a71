"""A picture of a run: losses, learning rate and metrics over its steps."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from drivetrain.visualization._records import Curve, RunRecords, read_run
from drivetrain.visualization._smoothing import smoothed
from drivetrain.visualization._style import (
    ACCENT,
    INK,
    MUTED,
    PALETTE,
    new_figure,
    plain_numbers,
    quiet_axes,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_METRICS = 6  # panels; more are named below the picture
FEW = 50  # points; a trend of fewer says nothing that they do not
DENSE = 300  # points; more are a cloud rather than a line
LOG_SCALE_FROM = 30.0  # largest over smallest loss
SMOOTH_SPAN = 1 / 25  # of all points
SMALLER_IS_BETTER = ("loss", "error", "perplexity", "mae", "mse", "wer", "cer", "fid", "nll")
LARGER_IS_BETTER = (
    "acc", "top", "auc", "precision", "recall", "map", "miou", "iou", "dice", "f1", "score",
    "psnr", "ssim", "bleu", "r2", "ap",
)  # fmt: skip
IN_PERCENT = ("acc", "top", "precision", "recall", "f1")


def plot_run(source: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Draw losses, learning rate and metrics of a run over its steps.

    Losses show their values, and below them, light, how they go on the whole. The best value of
    each metric is marked; its name tells whether that is the largest or the smallest.

    Args:
        source: A work folder, in which the newest run counts together with those that it went on
            from; or a file of JSON lines as ``LocalVisBackend`` writes it.
        out: Path of the picture; its suffix says the format (``.png``, ``.svg``, ``.pdf``). By
            default ``run.png`` in the folder, or beside the file.

    Returns:
        Path of the picture.

    Raises:
        RunNotFoundError: If there are no records of a run.
        RunDataError: If the records cannot be read, or have nothing to draw.
    """
    run, file = read_run(source)
    path = _default_path(Path(source), file) if out is None else Path(out)
    metrics = _metrics(run)
    shown, left_out = metrics[:MAX_METRICS], metrics[MAX_METRICS:]
    losses = _losses(run)
    rate = run.train.get("lr") or run.train.get("base_lr")
    panels: list[Callable[[Axes], Axes]] = []
    if losses:
        panels.append(lambda axes: _draw_losses(axes, losses, run))
    for i, name in enumerate(shown):
        color = PALETTE[(i + 2) % len(PALETTE)]
        panels.append(partial(_draw_metric, name=name, run=run, color=color))
    if rate is not None:
        panels.append(lambda axes: _draw_rate(axes, rate))
    with styled():
        figure = _draw_panels(panels, run)
        figure.suptitle(run.name, x=0.01, ha="left", fontsize=14, fontweight="bold", color=INK)
        figure.supxlabel(_summary(run, left_out), x=0.01, ha="left", fontsize=8, color=MUTED)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    return path


def _draw_panels(panels: list[Callable[[Axes], Axes]], run: RunRecords) -> Figure:
    columns = 2 if len(panels) == 4 else min(max(len(panels), 1), 3)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(4.8 * columns, 0.75 + 3.0 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for draw, axes in zip(panels, grid, strict=False):  # the last row may not be full
        _draw_steps(draw(axes), run)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


def _default_path(source: Path, file: Path) -> Path:
    return source / "run.png" if source.is_dir() else file.with_suffix(".png")


def _losses(run: RunRecords) -> list[Curve]:
    """Return the training losses, the total first."""
    names = [name for name in run.train if "loss" in name.lower()]
    return [run.train[name] for name in sorted(names, key=lambda name: (name != "loss", name))]


def _metrics(run: RunRecords) -> list[str]:
    """Return the names of what validation and test measured, without their timing."""
    names = [*run.val, *(name for name in run.test if name not in run.val)]
    shared = {curve.name for curve in _losses(run)} & set(names)  # drawn beside the training loss
    return [name for name in names if name not in ("time", "data_time") and name not in shared]


def best_index(name: str, values: Sequence[float]) -> int | None:
    """Return where the best value is; None if the name does not say which that is.

    Example:
        >>> best_index("accuracy/top1", [90.0, 92.5, 91.0]), best_index("val_loss", [2.0, 3.0])
        (1, 0)
        >>> best_index("temperature", [2.0, 3.0]) is None
        True
    """
    known = [i for i, value in enumerate(values) if math.isfinite(value)]
    if not known:
        return None
    lowered = name.lower()
    if any(word in lowered for word in SMALLER_IS_BETTER):
        return min(known, key=lambda i: values[i])
    if any(word in lowered for word in LARGER_IS_BETTER):
        return max(known, key=lambda i: values[i])
    return None


def _draw_losses(axes: Axes, losses: list[Curve], run: RunRecords) -> Axes:
    finite = [value for curve in losses for value in curve.values if math.isfinite(value)]
    in_decades = bool(finite) and min(finite) > 0 and max(finite) / min(finite) > LOG_SCALE_FROM
    for i, curve in enumerate(losses):
        color = PALETTE[i % len(PALETTE)]
        _draw_loss(axes, curve, color, in_decades)
        validated = run.val.get(curve.name)
        if validated is not None:
            axes.plot(
                validated.steps, validated.values, color=color, linestyle="--", marker="o",
                markersize=3, linewidth=1.2, label=f"{curve.name} (validation)",
            )  # fmt: skip
    if in_decades:
        _scale_by_decades(axes)
    axes.set_title("Loss" if len(losses) == 1 else "Losses")
    axes.set_ylabel("loss")
    _add_legend(axes)
    return axes


def _add_legend(axes: Axes) -> None:
    """Add a legend in a corner, and room for it above the curves."""
    entries = len(axes.get_legend_handles_labels()[0])
    if entries < 2:
        return
    columns = 1 if entries < 4 else 2
    share = 0.09 * math.ceil(entries / columns)
    low, high = axes.get_ylim()
    in_decades = axes.get_yscale() == "log"
    axes.set_ylim(low, high * (high / low) ** share if in_decades else high + share * (high - low))
    axes.legend(loc="upper right", ncols=columns)


def _draw_loss(axes: Axes, curve: Curve, color: str, in_decades: bool) -> None:
    """Draw the values, and how they go on the whole.

    Of a line one sees each turn, so the trend is a broad light line below it. Thousands of points
    would hide that, and make no line either: they are drawn light, and the trend stands above.
    """
    steps, values = curve.steps, curve.values
    if len(values) < FEW:
        axes.plot(steps, values, color=color, linewidth=1.5, label=curve.name)
        return
    trend = _trend(values, in_decades)
    if len(values) <= DENSE:
        axes.plot(steps, trend, color=color, linewidth=6, alpha=0.2, solid_capstyle="round")
        axes.plot(steps, values, color=color, linewidth=1.0, label=curve.name)
    else:
        axes.plot(steps, values, color=color, linewidth=0.5, alpha=0.25, zorder=1)
        axes.plot(steps, trend, color=color, linewidth=1.6, label=curve.name)


def _trend(values: Sequence[float], in_decades: bool) -> list[float]:
    span = max(len(values) * SMOOTH_SPAN, 5)
    if not in_decades:
        return smoothed(values, span)
    # Means of the logarithms: on this scale those of the values would run above the curve.
    logs = [math.log(value) if math.isfinite(value) else math.nan for value in values]
    return [math.exp(mean) for mean in smoothed(logs, span)]


def _scale_by_decades(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter  # heavy: only who draws pays

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.yaxis.set_major_formatter(plain_numbers())
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_metric(axes: Axes, name: str, run: RunRecords, color: str) -> Axes:
    axes.set_title(name)
    axes.set_ylabel(_with_unit(name, run))
    curve, test = run.val.get(name), run.test.get(name)
    if curve is not None:
        marker = "" if len(curve.values) > 40 else "o"
        axes.plot(
            curve.steps, curve.values, color=color, linewidth=1.5, marker=marker, markersize=3.5,
            label="validation",
        )  # fmt: skip
        best = best_index(name, curve.values)
        if best is not None:
            step, value = curve.steps[best], curve.values[best]
            axes.plot([step], [value], "o", markersize=9, color="none", markeredgecolor=ACCENT)
            axes.set_title(
                f"best {_short(value)} at step {step:,}", loc="right", fontsize=9, color=ACCENT
            )
    if test is not None:
        label = f"test {_short(test.values[-1])}"
        axes.axhline(test.values[-1], color=INK, linewidth=1, linestyle=":", label=label)
        axes.legend(loc="best")
    return axes


def _draw_rate(axes: Axes, rate: Curve) -> Axes:
    axes.plot(rate.steps, rate.values, color=PALETTE[1], linewidth=1.5)
    axes.fill_between(rate.steps, rate.values, color=PALETTE[1], alpha=0.12, linewidth=0)
    axes.set_title("Learning rate")
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(plain_numbers())
    return axes


def _draw_steps(axes: Axes, run: RunRecords) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # heavy: only who draws pays

    quiet_axes(axes)
    last, per_epoch = _last_step(run), run.steps_per_epoch
    axes.set_xlim(-0.01 * last, 1.02 * last)
    axes.set_xlabel("step (iterations)" if per_epoch is None else f"step ({per_epoch:,} an epoch)")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))


def _with_unit(name: str, run: RunRecords) -> str:
    values = [v for phase in (run.val, run.test) if name in phase for v in phase[name].values]
    last = name.rsplit("/", maxsplit=1)[-1]
    if any(word in name.lower() for word in IN_PERCENT):
        return f"{last} (%)" if max(values) > 1 else f"{last} (fraction)"
    return last


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4g}"


def _last_step(run: RunRecords) -> int:
    phases = (run.train, run.val, run.test)
    return max(1, *(curve.steps[-1] for phase in phases for curve in phase.values()))


def _summary(run: RunRecords, left_out: list[str]) -> str:
    parts = [f"{_last_step(run):,} steps"]
    if run.epochs:
        parts.append(f"{max(run.epochs.values())} epochs")
    if left_out:
        parts.append(f"not shown: {', '.join(left_out)}")
    return "   ·   ".join(parts)
