"""Clipping of gradients, by norm or by value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)

from drivetrain.optim._errors import OptimArgumentError, OptimTypeError, nearest

_OPTIONS = {
    "norm": {"max_norm", "norm_type", "error_if_nonfinite", "foreach"},
    "value": {"clip_value", "foreach"},
}


class GradientClipper:
    """Clips gradients in place, and gives back the norm that they had before.

    Args:
        settings: ``dict(max_norm=..., norm_type=2, ...)`` with the arguments of
            ``torch.nn.utils.clip_grad_norm_``, or ``dict(clip_value=...)`` with those of
            ``clip_grad_value_``. ``type`` (``'norm'`` or ``'value'``) may say which; without it
            the keys decide.

    Raises:
        OptimTypeError: If ``settings`` is no mapping.
        OptimArgumentError: If it is empty, of an unknown type, or its limit is missing or negative.

    Source: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks
    (ICML 2013), arXiv:1211.5063, for the clipping by norm.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if not isinstance(settings, Mapping):
            raise OptimTypeError(
                "clip_grad must be a dict such as dict(max_norm=1.0) or dict(clip_value=0.2), "
                f"got {type(settings).__name__}"
            )
        arguments = dict(settings)
        kind = arguments.pop("type", "value" if "clip_value" in arguments else "norm")
        limits = {"norm": "max_norm", "value": "clip_value"}
        if kind not in limits:
            raise OptimArgumentError(f"clip_grad: type must be 'norm' or 'value', got {kind!r}")
        if len(arguments.keys() & {"max_norm", "clip_value"}) > 1:
            raise OptimArgumentError(
                "clip_grad: clip by norm (max_norm) or by value (clip_value), not by both; got "
                f"{dict(settings)}"
            )
        if limits[kind] not in arguments:
            raise OptimArgumentError(
                f"clip_grad: by {kind} needs {limits[kind]!r}, got {dict(settings)}"
            )
        limit = arguments[limits[kind]]
        if not isinstance(limit, int | float | Tensor) or isinstance(limit, bool):
            raise OptimTypeError(
                f"clip_grad: {limits[kind]!r} must be a number, got {type(limit).__name__}"
            )
        unknown = sorted(arguments.keys() - _OPTIONS[kind])
        if unknown:
            raise OptimArgumentError(
                f"clip_grad: by {kind} has no option {unknown[0]!r}."
                f"{nearest(unknown[0], _OPTIONS[kind])} Known: {', '.join(sorted(_OPTIONS[kind]))}"
            )
        if isinstance(limit, int | float) and not limit >= 0:
            raise OptimArgumentError(
                f"clip_grad: {limits[kind]!r} must not be negative, got {limit}. To log the norm "
                "without clipping, use max_norm=float('inf')."
            )
        self.kind = kind
        self.arguments: dict[str, Any] = arguments

    def __call__(self, params: list[Tensor]) -> Tensor:
        """Clip the gradients of ``params``; return their total norm as a tensor, without a sync."""
        meshes = _by_mesh(params)
        if len(meshes) > 1:
            return self._clip_on_several(meshes)
        if self.kind == "norm":
            return _whole(clip_grad_norm_(params, **self.arguments))
        norm = get_total_norm([p.grad for p in params if p.grad is not None])
        clip_grad_value_(params, **self.arguments)
        return _whole(norm)

    def _clip_on_several(self, meshes: list[list[Tensor]]) -> Tensor:
        """Clip by what torch offers for parameters of one mesh of ranks, which it asks for."""
        arguments = dict(self.arguments)
        limit = arguments.pop("max_norm" if self.kind == "norm" else "clip_value")
        is_finite_required = arguments.pop("error_if_nonfinite", False)
        of_each = [get_total_norm([_grad(p) for p in part], **arguments) for part in meshes]
        norms = torch.stack([_whole(norm) for norm in of_each])
        total = torch.linalg.vector_norm(norms, float(arguments.get("norm_type", 2.0)))
        if is_finite_required and not torch.isfinite(total):
            raise RuntimeError(f"The gradients' norm is {total.item()}: they cannot be clipped.")
        for part in meshes:
            if self.kind == "norm":
                clip_grads_with_norm_(part, limit, total, arguments.get("foreach"))
            else:
                clip_grad_value_(part, limit, **arguments)
        return total


def _by_mesh(params: list[Tensor]) -> list[list[Tensor]]:
    """Parameters with a gradient by the ranks over which they are cut; one list if none are."""
    if not params or not hasattr(params[0], "device_mesh"):
        return [params]
    meshes: dict[Any, list[Tensor]] = {}
    for param in params:
        if param.grad is not None:
            meshes.setdefault(getattr(param, "device_mesh", None), []).append(param)
    return list(meshes.values())


def _grad(param: Tensor) -> Tensor:
    assert param.grad is not None
    return param.grad


def _whole(norm: Tensor) -> Tensor:
    # Sharded parameters give a norm that is spread over the ranks.
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm.detach()
