"""Finding the parameters that take no part in a loss."""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor, nn

from drivetrain.logging import print_log


def detect_anomalous_params(loss: Tensor, model: nn.Module) -> list[str]:
    """Log and return the names of the parameters that do not influence ``loss``.

    Walks the whole autograd graph: for finding out why gradients are missing, not for every run.

    Args:
        loss: A loss that still has its graph.
        model: Whose parameters that require gradients are looked for.

    Returns:
        Names as in ``model.named_parameters()``; empty if all have a part in the loss.
    """
    reached = _leaves(loss)
    names = [
        name
        for name, param in model.named_parameters()
        if param.requires_grad and id(param) not in reached
    ]
    for name in names:
        print_log(
            f"{name} with shape {tuple(model.get_parameter(name).shape)} is not in the "
            "computational graph of the loss",
            logger="current",
            level=logging.ERROR,
        )
    return names


def _leaves(loss: Tensor) -> set[int]:
    """Ids of the tensors that collect a gradient in a backward pass from ``loss``."""
    found: set[int] = set()
    seen: set[Any] = set()
    pending = [loss.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found.add(id(leaf))
        pending.extend(following for following, _ in node.next_functions)
    return found
