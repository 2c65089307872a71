"""The parameter groups of an optimizer, as a table."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

from drivetrain.optim._optim_wrapper import BaseOptimWrapper
from drivetrain.optim._wrapper_dict import OptimWrapperDict

# What distinguishes groups at a glance comes first; flags of the implementation never do.
_FIRST = ("lr", "weight_decay", "momentum", "betas")
_HIDDEN = frozenset({"params", "foreach", "fused", "capturable", "maximize", "differentiable"})


def describe(
    optim_wrapper: BaseOptimWrapper | Optimizer, model: nn.Module | None = None, names: int = 2
) -> str:
    """Return a table with one line for each parameter group.

    Args:
        optim_wrapper: A wrapper, an :class:`OptimWrapperDict`, or an optimizer.
        model: Where given, parameters are shown by name.
        names: How many names of a group are shown.

    Returns:
        Group, number of tensors, number of values, settings, and names.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(5, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        >>> print(describe(optimizer, model))
        group  tensors  values    lr  weight_decay  momentum  parameters
        0            2      12  0.01             0       0.9  weight, bias
    """
    if isinstance(optim_wrapper, OptimWrapperDict):
        tables = ((name, describe(member, model, names)) for name, member in optim_wrapper.items())
        return "\n\n".join(f"{name}\n{table}" for name, table in tables)
    groups = optim_wrapper.param_groups
    if isinstance(optim_wrapper, BaseOptimWrapper):
        groups = optim_wrapper.optimizer.param_groups
    settings = _shown_settings(groups)
    known = {id(param): name for name, param in model.named_parameters()} if model else {}
    header = ["group", "tensors", "values", *settings, *(["parameters"] if model else [])]
    rows = [header]
    for index, group in enumerate(groups):
        params = group["params"]
        row = [str(index), str(len(params)), f"{sum(param.numel() for param in params):,}"]
        row += [_text(group.get(key, "")) for key in settings]
        if model:
            shown = [known.get(id(param), "(not in the model)") for param in params[:names]]
            row.append(", ".join(shown) + (", ..." if len(params) > names else ""))
        rows.append(row)
    return _aligned(rows, left=len(header) - 1 if model else len(header))


def _shown_settings(groups: list[dict[str, Any]]) -> list[str]:
    given = (key for group in groups for key in group if key not in _HIDDEN)
    keys = dict.fromkeys(key for key in given if not key.startswith("initial_"))
    usual = [key for key in _FIRST if key in keys]
    differing = [
        key
        for key in keys
        if key not in usual and len({repr(group.get(key)) for group in groups}) > 1
    ]
    return usual + differing


def _text(value: Any) -> str:
    return f"{float(value):g}" if isinstance(value, float) or hasattr(value, "item") else str(value)


def _aligned(rows: list[list[str]], left: int) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in (0, left) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
