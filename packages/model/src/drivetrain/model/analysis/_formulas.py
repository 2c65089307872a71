"""What one operation costs.

A multiplication with its addition counts as one operation, as is usual for networks. Matrix
products and convolutions are counted by torch's own formulas, which count two; for norms, pooling
and resampling there are formulas here. Elementwise operations count nothing.

For ``n`` queries, ``m`` keys, and heads of width ``d`` (values: ``e``) attention costs
``n * m * (d + e)``: the two products of Vaswani et al. (2017), arXiv:1706.03762, eq. 1, without the
softmax. An element of the input of a norm costs 4, with an affine map 5; of a batch norm whose
statistics are given, 1 and 2. An element that is resampled bilinearly costs 4. The numbers per
element are those of fvcore's counter, so that tables can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils.flop_counter import flop_registry

#: Arguments, keyword arguments and output of an operation -> its cost.
Formula = Callable[[tuple[Any, ...], Mapping[str, Any], Any], float]

_PRODUCTS = {
    "convolution": "conv",
    "_convolution": "conv",
    "cudnn_convolution": "conv",
    "addmm": "linear",
    "mm": "matmul",
    "bmm": "matmul",
    "baddbmm": "matmul",
    "mv": "matmul",
    "addmv": "matmul",
    "dot": "matmul",
}
_ATTENTION = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)
_BATCH_NORMS = (
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "miopen_batch_norm",
)
#: Operations that only arrange data, or that networks are never judged by.
FREE = frozenset(
    {
        "_to_copy",
        "_unsafe_view",
        "arange",
        "bernoulli_",
        "cat",
        "clone",
        "constant_pad_nd",
        "copy_",
        "detach",
        "dropout",
        "empty",
        "empty_like",
        "eq",
        "fill_",
        "full",
        "full_like",
        "ge",
        "gt",
        "le",
        "lift_fresh",
        "lt",
        "native_dropout",
        "ne",
        "ones",
        "ones_like",
        "relu",
        "relu_",
        "repeat",
        "scalar_tensor",
        "stack",
        "zero_",
        "zeros",
        "zeros_like",
    }
)


def label_of(operation: str, module: object) -> str:
    """Return the name under which an operation is reported.

    Args:
        operation: Name in ``torch.ops.aten``, without overload.
        module: The module in which it runs.
    """
    if operation in _PRODUCTS:
        inside_linear = type(module).__name__ == "Linear" and operation in ("mm", "addmm", "bmm")
        return "linear" if inside_linear else _PRODUCTS[operation].replace("linear", "matmul")
    if operation in _ATTENTION:
        return "attention"
    for known in ("batch_norm", "layer_norm", "group_norm"):
        if known in operation:
            return known
    return operation.strip("_")


def _numel(value: Any) -> int:
    return value.numel() if isinstance(value, Tensor) else 0


def _output(out: Any) -> Any:
    return out[0] if isinstance(out, tuple | list) else out


def _torch_formula(operation: Any) -> Formula:
    count = flop_registry[operation]

    def formula(args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> float:
        return count(*args, **kwargs, out_val=out) // 2

    return formula


def _attention(args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> float:
    query, key, value = args[:3]
    pairs = math.prod(query.shape[:-1]) * key.shape[-2]
    return pairs * (query.shape[-1] + value.shape[-1])


def _matrix_vector(args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> float:
    return max(_numel(arg) for arg in args)


def _norm(weight_at: int, training_at: int | None) -> Formula:
    def formula(args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> float:
        affine = len(args) > weight_at and args[weight_at] is not None
        if training_at is not None and len(args) > training_at and not args[training_at]:
            return _numel(args[0]) * (2 if affine else 1)  # the statistics are given
        return _numel(args[0]) * (5 if affine else 4)

    return formula


def _per_element(of_input: float, of_output: float) -> Formula:
    def formula(args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> float:
        return of_input * _numel(args[0]) + of_output * _numel(_output(out))

    return formula


def flop_formula(operation: Any) -> Formula | None:
    """Return how to count the multiply-adds of an operation of torch; ``None`` if it has none."""
    name = operation.__name__
    if operation in flop_registry:
        return _torch_formula(operation)
    if name in _ATTENTION:
        return _attention
    if name in ("mv", "addmv", "dot"):
        return _matrix_vector
    if name in _BATCH_NORMS:
        no_training = name.endswith("no_training")
        return _norm(1, training_at=None if no_training else 5)
    if name == "native_layer_norm":
        return _norm(2, training_at=None)
    if name == "native_group_norm":
        return _norm(1, training_at=None)
    if name.startswith("upsample_"):
        return _per_element(0, 0 if "nearest" in name else 4)
    if name.startswith("_adaptive_avg_pool"):
        return _per_element(1, 0)
    if name.startswith("grid_sampler"):
        return _per_element(0, 4)
    return None


def activation_formula(operation: Any) -> Formula | None:
    """Return how to count the outputs of an operation of torch; ``None`` if they do not count."""
    name = operation.__name__
    if name in _PRODUCTS or name in _ATTENTION or operation in flop_registry:
        return lambda args, kwargs, out: _numel(_output(out))
    return None
