"""Clipping of gradients, by norm or by value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from drivetrain.optim._errors import OptimArgumentError, OptimTypeError


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
        if limits[kind] not in arguments:
            raise OptimArgumentError(
                f"clip_grad: by {kind} needs {limits[kind]!r}, got {dict(settings)}"
            )
        limit = arguments[limits[kind]]
        if isinstance(limit, int | float) and not limit >= 0:
            raise OptimArgumentError(
                f"clip_grad: {limits[kind]!r} must not be negative, got {limit}. To log the norm "
                "without clipping, use max_norm=float('inf')."
            )
        self.kind = kind
        self.arguments: dict[str, Any] = arguments

    def __call__(self, params: list[Tensor]) -> Tensor:
        """Clip the gradients of ``params``; return their total norm as a tensor, without a sync."""
        if self.kind == "norm":
            norm = clip_grad_norm_(params, **self.arguments)
        else:
            norm = torch.nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
            clip_grad_value_(params, **self.arguments)
        # Sharded parameters give a norm that is spread over the ranks.
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm.detach()
