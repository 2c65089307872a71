"""Initialization of one module's weight and bias, as functions."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from drivetrain.model._errors import InitCfgError, ModelTypeError

Distribution = Literal["normal", "uniform"]


def _tensors(module: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    return (
        weight if isinstance(weight, Tensor) else None,
        bias if isinstance(bias, Tensor) else None,
    )


def constant_init(module: nn.Module, val: float, bias: float = 0) -> None:
    """Fill weight and bias with a constant each; a module may lack one of them.

    Args:
        module: The module; what it lacks of ``weight`` and ``bias`` is left out.
        val: Fills the weight.
        bias: Fills the bias.
    """
    weight, module_bias = _tensors(module)
    if weight is not None:
        nn.init.constant_(weight, val)
    if module_bias is not None:
        nn.init.constant_(module_bias, bias)


def xavier_init(
    module: nn.Module, gain: float = 1, bias: float = 0, distribution: Distribution = "normal"
) -> None:
    """Draw the weight as Glorot and Bengio (2010) do; fill the bias.

    Normal: mean 0, standard deviation ``gain * sqrt(2 / (fan_in + fan_out))``. Uniform: between
    ``-b`` and ``b``, where ``b`` is ``sqrt(3)`` times that.

    Args:
        module: The module.
        gain: Factor of the standard deviation.
        bias: Fills the bias.
        distribution: ``'normal'`` or ``'uniform'``.

    Raises:
        InitCfgError: If ``distribution`` is neither.

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural
    networks (AISTATS 2010).
    """
    fill = nn.init.xavier_uniform_ if _is_uniform(distribution) else nn.init.xavier_normal_
    weight, module_bias = _tensors(module)
    if weight is not None:
        fill(weight, gain=gain)
    if module_bias is not None:
        nn.init.constant_(module_bias, bias)


def normal_init(module: nn.Module, mean: float = 0, std: float = 1, bias: float = 0) -> None:
    """Draw the weight from a normal distribution; fill the bias.

    Args:
        module: The module; what it lacks of ``weight`` and ``bias`` is left out.
        mean: Mean of the weight.
        std: Standard deviation of the weight, not negative.
        bias: Fills the bias.
    """
    weight, module_bias = _tensors(module)
    if weight is not None:
        nn.init.normal_(weight, mean, std)
    if module_bias is not None:
        nn.init.constant_(module_bias, bias)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Draw a tensor, in place, from a normal distribution cut off below ``a`` and above ``b``.

    By the inverse of the distribution function: the numbers of a seed are those of the reference
    engine, and the same with every version of torch.

    Args:
        tensor: Of any shape.
        mean: Mean before cutting.
        std: Standard deviation before cutting.
        a: Smallest value.
        b: Largest value.

    Returns:
        ``tensor``.

    Raises:
        InitCfgError: If ``std`` is not positive, or ``a`` not below ``b``.
    """
    if not (std > 0 and a < b):
        raise InitCfgError(
            f"truncated normal: std must be positive and a below b, got std={std}, a={a}, b={b}"
        )
    lowest, highest = (math.erf((edge - mean) / (std * math.sqrt(2))) for edge in (a, b))
    with torch.no_grad():
        tensor.uniform_(lowest, highest).erfinv_()
        return tensor.mul_(std * math.sqrt(2)).add_(mean).clamp_(a, b)


def trunc_normal_init(
    module: nn.Module,
    mean: float = 0,
    std: float = 1,
    a: float = -2,
    b: float = 2,
    bias: float = 0,
) -> None:
    """Draw the weight from a normal distribution cut off at ``a`` and ``b``; fill the bias.

    Args:
        module: The module; what it lacks of ``weight`` and ``bias`` is left out.
        mean: Mean before cutting.
        std: Standard deviation before cutting.
        a: Smallest value of the weight.
        b: Largest value of the weight.
        bias: Fills the bias.
    """
    weight, module_bias = _tensors(module)
    if weight is not None:
        trunc_normal_(weight, mean, std, a, b)
    if module_bias is not None:
        nn.init.constant_(module_bias, bias)


def uniform_init(module: nn.Module, a: float = 0, b: float = 1, bias: float = 0) -> None:
    """Draw the weight uniformly from ``[a, b]``; fill the bias.

    Args:
        module: The module; what it lacks of ``weight`` and ``bias`` is left out.
        a: Lower bound of the weight.
        b: Upper bound of the weight.
        bias: Fills the bias.
    """
    weight, module_bias = _tensors(module)
    if weight is not None:
        nn.init.uniform_(weight, a, b)
    if module_bias is not None:
        nn.init.constant_(module_bias, bias)


def kaiming_init(
    module: nn.Module,
    a: float = 0,
    mode: Literal["fan_in", "fan_out"] = "fan_out",
    nonlinearity: str = "relu",
    bias: float = 0,
    distribution: Distribution = "normal",
) -> None:
    """Draw the weight as He et al. (2015) do; fill the bias.

    Normal: mean 0, standard deviation ``g / sqrt(fan)``. Uniform: between ``-b`` and ``b``, where
    ``b`` is ``sqrt(3)`` times that. ``g`` belongs to the nonlinearity: ``sqrt(2)`` for ``'relu'``,
    ``sqrt(2 / (1 + a ** 2))`` for ``'leaky_relu'``.

    Args:
        module: The module.
        a: Negative slope of the rectifier behind it; only for ``'leaky_relu'``.
        mode: ``'fan_in'`` keeps the variance in the forward pass, ``'fan_out'`` in the backward.
        nonlinearity: Name of the function behind it, as in ``torch.nn.functional``.
        bias: Fills the bias.
        distribution: ``'normal'`` or ``'uniform'``.

    Raises:
        InitCfgError: If ``distribution`` is neither.

    Source: He et al., Delving Deep into Rectifiers (ICCV 2015), arXiv:1502.01852, section 2.2.
    """
    uniform = _is_uniform(distribution)
    fill: Any = nn.init.kaiming_uniform_ if uniform else nn.init.kaiming_normal_
    weight, module_bias = _tensors(module)
    if weight is not None:
        fill(weight, a=a, mode=mode, nonlinearity=nonlinearity)
    if module_bias is not None:
        nn.init.constant_(module_bias, bias)


def caffe2_xavier_init(module: nn.Module, bias: float = 0) -> None:
    """Draw the weight as Caffe2's XavierFill does: uniform, keeping the variance forward.

    Between ``-sqrt(3 / fan_in)`` and ``sqrt(3 / fan_in)``.

    Args:
        module: The module; what it lacks of ``weight`` and ``bias`` is left out.
        bias: Fills the bias.
    """
    kaiming_init(
        module, a=1, mode="fan_in", nonlinearity="leaky_relu", bias=bias, distribution="uniform"
    )


def bias_init_with_prob(prior_prob: float) -> float:
    """Return the bias at which a sigmoid gives ``prior_prob``.

    ``-log((1 - prior_prob) / prior_prob)``

    Args:
        prior_prob: Probability that an untrained classifier should give, between 0 and 1.

    Raises:
        InitCfgError: If it is not between 0 and 1.

    Source: Lin et al., Focal Loss for Dense Object Detection (ICCV 2017), arXiv:1708.02002, section
    4.1.
    """
    if not 0.0 < prior_prob < 1.0:
        raise InitCfgError(f"prior_prob must be between 0 and 1, got {prior_prob}")
    return float(-math.log((1 - prior_prob) / prior_prob))


def _is_uniform(distribution: str) -> bool:
    if distribution not in ("normal", "uniform"):
        raise InitCfgError(f"distribution must be 'normal' or 'uniform', got {distribution!r}")
    return distribution == "uniform"


def fingerprint(tensor: Tensor) -> tuple[int, float | None]:
    """Return what changes when a tensor is initialized: its version, and its mean.

    Operations on ``tensor.data`` leave the version alone, a permutation leaves the mean alone.
    """
    if tensor.is_meta or tensor.numel() == 0:
        return tensor._version, None
    return tensor._version, float(tensor.detach().to(torch.float32).mean())


def update_init_info(module: nn.Module, init_info: str) -> None:
    """Note, for each parameter of ``module`` that changed since the last note, what changed it.

    Only during ``init_weights`` does a module hold such notes, in ``_params_init_info``.

    Args:
        module: The module.
        init_info: What initialized it.

    Raises:
        ModelTypeError: If ``module`` holds no notes, or has a parameter that is new.
    """
    notes = getattr(module, "_params_init_info", None)
    if notes is None:
        raise ModelTypeError(
            f"update_init_info: {type(module).__name__} is not inside init_weights of a BaseModule"
        )
    for name, param in module.named_parameters():
        if param not in notes:
            raise ModelTypeError(
                f"update_init_info: {type(module).__name__} got a new parameter {name!r} of shape "
                f"{tuple(param.shape)} during init_weights. Write into the old one instead."
            )
        present = fingerprint(param)
        if notes[param]["fingerprint"] != present:
            notes[param].update(init_info=init_info, fingerprint=present)
