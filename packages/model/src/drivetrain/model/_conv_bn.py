"""A convolution and the batch normalization behind it, computed as one convolution."""

from __future__ import annotations

import inspect
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_eval

from drivetrain.model._activation_checkpointing import find_submodule
from drivetrain.model._errors import ModelArgumentError

Pair = tuple[str, str]


def conv_bn_pairs(model: nn.Module) -> list[Pair]:
    """Return the names of convolutions whose output goes to one batch normalization only.

    Found in the graph of the model, traced with its default arguments. A part that cannot be traced
    is searched child by child.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = fx.Tracer().trace(model, concrete_args=defaults)
    except Exception:  # whatever a forward pass makes of a stand-in for a tensor
        return [
            (f"{name}.{conv}", f"{name}.{norm}")
            for name, child in model.named_children()
            for conv, norm in conv_bn_pairs(child)
        ]
    calls = [node for node in graph.nodes if node.op == "call_module"]
    times = Counter(str(node.target) for node in calls)
    pairs = []
    for node in calls:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        conv, norm = str(source.target), str(node.target)
        kinds = (model.get_submodule(conv), model.get_submodule(norm))
        fits = isinstance(kinds[0], _ConvNd) and isinstance(kinds[1], _BatchNorm)
        if fits and len(source.users) == 1 and times[conv] == times[norm] == 1:
            pairs.append((conv, norm))
    return pairs


def fuse_conv_bn(model: nn.Module) -> nn.Module:
    """Replace each convolution and the batch normalization behind it by one convolution.

    For inference: the results stay the same within rounding, the normalization becomes an identity.
    Only pairs that follow one another in the model's own forward pass are fused.

    Args:
        model: The model, in evaluation mode; changed in place.

    Returns:
        The model.

    Raises:
        ModelArgumentError: If the model is in training mode.
    """
    if model.training:
        raise ModelArgumentError(
            "fuse_conv_bn: a training model needs its normalizations; call model.eval() first"
        )
    for conv_name, norm_name in conv_bn_pairs(model):
        conv: Any = model.get_submodule(conv_name)
        norm: Any = model.get_submodule(norm_name)
        if norm.running_mean is not None:
            _replace(model, conv_name, fuse_conv_bn_eval(conv, norm))
            _replace(model, norm_name, nn.Identity())
    return model


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def turn_on_efficient_conv_bn_eval(model: nn.Module, modules: str | Iterable[str] = "") -> int:
    """Fold frozen batch normalizations into their convolutions while training goes on.

    Where a normalization is in evaluation mode, its scale is applied to the weights of the
    convolution, which are small, instead of the activations, which need not be kept. Gradients are
    the same. In training mode both work as before. Names of parameters stay as they are.

    Args:
        model: The model; changed in place.
        modules: Names of the submodules in which pairs are looked for; the whole model by default.

    Returns:
        How many pairs were found.

    Raises:
        ModelArgumentError: If the model has no such submodule. Then nothing is changed.

    Source: You et al., Efficient ConvBN Blocks for Transfer Learning and Beyond (2023).
    """
    names = [modules] if isinstance(modules, str) else list(modules)
    count = 0
    for part in [find_submodule(model, name) for name in names]:
        for conv_name, norm_name in conv_bn_pairs(part):
            conv, norm = part.get_submodule(conv_name), part.get_submodule(norm_name)
            if isinstance(conv, _FoldingConv | nn.modules.conv._ConvTransposeNd):
                continue
            _specialize(conv, _FoldingConv)
            _specialize(norm, _FoldedNorm)
            # In a tuple: as an attribute it would become a child, and change the state dict.
            conv._folded = (norm,)  # type: ignore[assignment]  # see above
            count += 1
    return count


def _specialize(module: nn.Module, mixin: type) -> None:
    kind = type(module)
    namespace = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    module.__class__ = type(kind.__name__, (mixin, kind), namespace)


def _folds(norm: Any) -> bool:
    return not norm.training and norm.running_mean is not None


class _FoldingConv:
    """Goes before a convolution's class: applies the scale of its normalization to its weights."""

    _folded: tuple[Any]
    weight: Tensor
    bias: Tensor | None

    def forward(self, inputs: Tensor) -> Tensor:
        norm = self._folded[0]
        if not _folds(norm):
            return super().forward(inputs)  # type: ignore[misc]  # the convolution's class follows
        weight, bias = _scaled(self.weight, self.bias, norm)
        return self._conv_forward(inputs, weight, bias)  # type: ignore[attr-defined]  # as above


class _FoldedNorm:
    """Goes before a normalization's class: lets pass what its convolution normalized already."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs if _folds(self) else super().forward(inputs)  # type: ignore[misc]  # as above


def _scaled(weight: Tensor, bias: Tensor | None, norm: Any) -> tuple[Tensor, Tensor]:
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean if bias is None else bias - norm.running_mean
    shift = shift * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    return weight * scale.view(-1, *[1] * (weight.ndim - 1)), shift
