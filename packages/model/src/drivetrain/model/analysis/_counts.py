"""Counts as plain functions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from torch import nn

from drivetrain.model.analysis._analyzer import ActivationAnalyzer, CostAnalyzer, FlopAnalyzer
from drivetrain.model.analysis._formulas import Formula
from drivetrain.model.analysis._report import _format_size, ascii_table


def flop_count(
    model: nn.Module, inputs: Any, supported_ops: Mapping[str, Formula] | None = None
) -> tuple[dict[str, float], Counter[str]]:
    """Count the operations of one forward pass.

    Args:
        model: The model.
        inputs: A tensor, or a tuple or list of the positional arguments, or a dict of the others.
        supported_ops: Formulas of one's own, by name of the operation.

    Returns:
        Billions of multiply-adds by kind of operation, and how often operations occurred that are
        not counted.
    """
    return _count(FlopAnalyzer(model, inputs), supported_ops, unit=1e9)


def activation_count(
    model: nn.Module, inputs: Any, supported_ops: Mapping[str, Formula] | None = None
) -> tuple[dict[str, float], Counter[str]]:
    """Count the outputs of convolutions, matrix products and attention in one forward pass.

    Args:
        model: The model.
        inputs: A tensor, or a tuple or list of the positional arguments, or a dict of the others.
        supported_ops: Formulas of one's own, by name of the operation.

    Returns:
        Millions of values by kind of operation, and how often operations occurred that are not
        counted.
    """
    return _count(ActivationAnalyzer(model, inputs), supported_ops, unit=1e6)


def _count(
    analyzer: CostAnalyzer, supported_ops: Mapping[str, Formula] | None, unit: float
) -> tuple[dict[str, float], Counter[str]]:
    for name, formula in (supported_ops or {}).items():
        analyzer.set_op_handle(name, formula)
    counts = {name: count / unit for name, count in analyzer.by_operator().items()}
    return counts, analyzer.unsupported_ops()


def parameter_count(model: nn.Module) -> defaultdict[str, int]:
    """Count the values in the parameters of each module; the whole model is ``''``.

    A parameter that is held twice counts once in each module that holds it.

    Args:
        model: The model; whether a parameter is trained makes no difference.

    Returns:
        Numbers of values by name, of modules and of single parameters; 0 for any other name.
    """
    counts: defaultdict[str, int] = defaultdict(int)
    for name, module in model.named_modules(remove_duplicate=False):
        counts[name] = sum(param.numel() for param in module.parameters())
    for name, param in model.named_parameters(remove_duplicate=False):
        counts[name] = param.numel()
    return counts


def parameter_count_table(model: nn.Module, max_depth: int = 3) -> str:
    """Return a table of the parameters, with the shapes of single ones.

    Args:
        model: The model.
        max_depth: How many levels of modules are shown.
    """
    counts = parameter_count(model)
    shapes = {name: tuple(param.shape) for name, param in model.named_parameters()}
    rows = [["name", "#elements or shape"], ["model", _format_size(counts[""])]]
    for name in _by_level(counts, max_depth):
        depth = name.count(".") + 1
        text = str(shapes[name]) if name in shapes else _format_size(counts[name])
        rows.append([" " * depth + name, " " * depth + text])
    return ascii_table(rows)


def _by_level(names: Mapping[str, int], max_depth: int) -> list[str]:
    """Return names in order, each followed by what is inside it, down to a depth."""
    return [name for name in names if name and name.count(".") < max_depth and names[name]]
