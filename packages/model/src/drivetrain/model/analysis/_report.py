"""Costs as text: sizes, a table, a tree of modules."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from drivetrain.model.analysis._analyzer import ActivationAnalyzer, FlopAnalyzer

# A unit is used from a tenth of it on: 0.118G, not 118M.
_UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K"))


def _format_size(x: float, sig_figs: int = 3, hide_zero: bool = False) -> str:
    """Return a count in a readable unit.

    Args:
        x: The count.
        sig_figs: Digits behind the point, at most.
        hide_zero: Return nothing for 0.

    Example:
        >>> _format_size(118_013_952)
        '0.118G'
    """
    if hide_zero and x == 0:
        return ""
    for unit, letter in _UNITS:
        if abs(x) > unit / 10:
            return f"{x / unit:.{sig_figs}f}".rstrip("0").rstrip(".") + letter
    return str(int(x) if float(x).is_integer() else x)


def ascii_table(rows: list[list[str]]) -> str:
    """Return rows as a table with borders; the first is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    border = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([border, lines[0], border, *lines[1:], border])


class _Stats:
    """Parameters, operations and activations of each module of a model."""

    def __init__(self, flops: FlopAnalyzer, activations: ActivationAnalyzer | None) -> None:
        self.model = flops.model
        self.flops: Mapping[str, float] = flops.by_module()
        self.acts: Mapping[str, float] | None = activations.by_module() if activations else None
        self.params = {
            name: sum(param.numel() for param in module.parameters())
            for name, module in self.model.named_modules()
        }

    def of(self, name: str) -> tuple[float, float, float]:
        return (self.params[name], self.flops[name], self.acts[name] if self.acts else 0)

    def children(self, name: str) -> list[str]:
        """Return the names of the children that cost anything."""
        prefix = f"{name}." if name else ""
        names = [prefix + child for child, _ in self.model.get_submodule(name).named_children()]
        return [child for child in names if child in self.params and any(self.of(child))]

    def skip_wrappers(self, name: str) -> str:
        """Follow a module down as long as a single child makes up all of it."""
        children = self.children(name)
        while len(children) == 1 and self.of(children[0]) == self.of(name):
            name = children[0]
            children = self.children(name)
        return name


def complexity_stats_table(
    flops: FlopAnalyzer,
    max_depth: int = 3,
    activations: ActivationAnalyzer | None = None,
    show_param_shapes: bool = True,
) -> str:
    """Return a table of modules with their parameters, operations and activations.

    A module that only wraps another one is left out; names are relative to the first row.

    Args:
        flops: Counts operations.
        max_depth: How many levels of modules are shown.
        activations: Counts activations, if they are to be shown.
        show_param_shapes: Show single parameters with their shapes.
    """
    stats = _Stats(flops, activations)
    columns = ["module", "#parameters or shape", "#flops", "#activations"]
    rows = [columns[: 4 if activations else 3]]
    root = stats.skip_wrappers("")

    def add(name: str, label: str, depth: int) -> None:
        pad = " " * depth
        sizes = [_format_size(value) for value in stats.of(name)[: len(rows[0]) - 1]]
        rows.append([pad + label, *(pad + size for size in sizes)])
        if show_param_shapes:
            for param_name, param in stats.model.get_submodule(name).named_parameters(
                recurse=False
            ):
                own = param_name if depth == 0 else f"{label}.{param_name}"
                row = [f"{pad} {own}", f"{pad} {tuple(param.shape)}"]
                rows.append(row + [""] * (len(rows[0]) - 2))
        if depth < max_depth:
            for child in stats.children(name):
                shown = stats.skip_wrappers(child)
                add(shown, shown.removeprefix(f"{root}.") if root else shown, depth + 1)

    add(root, root or "model", 0)
    return ascii_table(rows)


def complexity_stats_str(flops: FlopAnalyzer, activations: ActivationAnalyzer | None = None) -> str:
    """Return the model's printed form, with parameters, operations and activations in it.

    Args:
        flops: Counts operations.
        activations: Counts activations, if they are to be shown.
    """
    return _tree(_Stats(flops, activations), "", 0)


def _tree(stats: _Stats, name: str, depth: int) -> str:
    module = stats.model.get_submodule(name)
    lines = [line for line in module.extra_repr().split("\n") if line]
    if name in stats.params and any(stats.of(name)):
        params, flops, acts = stats.of(name)
        text = f"#params: {_format_size(params)}, #flops: {_format_size(flops)}"
        lines.append(f"{text}, #acts: {_format_size(acts)}" if stats.acts else text)
    elif not list(module.children()) and len(lines) < 2:
        return f"{module._get_name()}({''.join(lines)})"
    prefix = f"{name}." if name else ""
    for child, part in module.named_children():
        if isinstance(part, nn.Module):
            lines.append(f"({child}): {_tree(stats, prefix + child, depth + 1)}")
    inner = "\n".join(lines).replace("\n", "\n  ")
    return f"{module._get_name()}(\n  {inner}\n)"
