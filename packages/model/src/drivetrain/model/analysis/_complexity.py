"""Everything about a model's size and cost in one call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.model.analysis._analyzer import ActivationAnalyzer, FlopAnalyzer
from drivetrain.model.analysis._counts import parameter_count
from drivetrain.model.analysis._errors import AnalysisError
from drivetrain.model.analysis._report import (
    _format_size,
    complexity_stats_str,
    complexity_stats_table,
)

Shape = tuple[int, ...]


def get_model_complexity_info(
    model: nn.Module,
    input_shape: Shape | tuple[Shape, ...] | None = None,
    inputs: Any | None = None,
    show_table: bool = True,
    show_arch: bool = True,
) -> dict[str, Any]:
    """Count parameters, operations and activations of a model.

    A multiplication with its addition is one operation. The model is run once, in the mode that it
    is in, and stays as it was.

    Args:
        model: The model.
        input_shape: Shape of one sample, such as ``(3, 224, 224)``; a batch of one random sample is
            used. A tuple of shapes for several inputs.
        inputs: What to call the model with: a tensor, a tuple or list of arguments, or a dict.
            Instead of ``input_shape``.
        show_table: Also make the table.
        show_arch: Also make the printed form of the model with its costs.

    Returns:
        ``flops``, ``activations``, ``params``; each with ``_str`` behind it as text; ``out_table``
        and ``out_arch``, empty where not asked for.

    Raises:
        AnalysisError: If not exactly one of ``input_shape`` and ``inputs`` is given, a length is
            negative, or the model fails.

    Example:
        >>> info = get_model_complexity_info(nn.Conv2d(3, 10, 3), (3, 10, 10))
        >>> info["flops"], info["activations"], info["params"]
        (17280, 640, 280)
    """
    if (inputs is None) == (input_shape is None):
        raise AnalysisError("get_model_complexity_info: give input_shape or inputs, and not both")
    if inputs is None:
        inputs = _random_inputs(model, input_shape)
    flops, activations = FlopAnalyzer(model, inputs), ActivationAnalyzer(model, inputs)
    values = {
        "flops": flops.total(),
        "activations": activations.total(),
        "params": parameter_count(model)[""],
    }
    table = complexity_stats_table(flops, activations=activations) if show_table else ""
    arch = complexity_stats_str(flops, activations) if show_arch else ""
    texts = {f"{name}_str": _format_size(value) for name, value in values.items()}
    return {**values, **texts, "out_table": table, "out_arch": arch}


def _random_inputs(model: nn.Module, input_shape: Any) -> tuple[Tensor, ...]:
    shapes = input_shape if isinstance(input_shape[0], tuple | list) else (input_shape,)
    if any(length < 0 for shape in shapes for length in shape):
        raise AnalysisError(
            f"get_model_complexity_info: input_shape has a negative length: {input_shape}"
        )
    first = next(model.parameters(), torch.empty(0))
    generator = torch.Generator().manual_seed(0)  # leaves the random state of the run alone
    return tuple(
        torch.randn(1, *shape, generator=generator).to(first.device, first.dtype)
        for shape in shapes
    )
