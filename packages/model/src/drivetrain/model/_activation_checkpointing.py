"""Computing activations a second time instead of keeping them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from drivetrain.model._errors import ModelArgumentError, nearest


def turn_on_activation_checkpointing(model: nn.Module, modules: str | Iterable[str]) -> None:
    """Let submodules forget their activations, and compute them again in the backward pass.

    That costs another forward pass of these modules, and saves the memory of what lies inside them.
    Names of parameters stay as they are; without gradients nothing changes.

    Args:
        model: The model.
        modules: Names of submodules, or one name; lists of layers are best given layer by layer.

    Raises:
        ModelArgumentError: If the model has no such submodule. Then nothing is changed.

    Example:
        >>> turn_on_activation_checkpointing(model, ["backbone", "head"])

    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost (2016), arXiv:1604.06174.
    """
    names = [modules] if isinstance(modules, str) else list(modules)
    for part in [find_submodule(model, name) for name in names]:
        kind = type(part)
        if not issubclass(kind, _Checkpointed):
            # A class of its own, not a new attribute: a deep copy then runs its own forward.
            namespace = {"__module__": kind.__module__, "__doc__": kind.__doc__}
            part.__class__ = type(kind.__name__, (_Checkpointed, kind), namespace)


def find_submodule(model: nn.Module, name: str) -> nn.Module:
    """Return a submodule by name; the error for an unknown one offers the nearest."""
    try:
        return model.get_submodule(name)
    except AttributeError as err:
        known = [known for known, _ in model.named_modules() if known]
        raise ModelArgumentError(
            f"{type(model).__name__} has no submodule {name!r}.{nearest(name, known)}"
        ) from err


class _Checkpointed:
    """Goes before a module's class, and puts a checkpoint around its forward pass."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        forward = super().forward  # type: ignore[misc]  # the module's class follows
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)
