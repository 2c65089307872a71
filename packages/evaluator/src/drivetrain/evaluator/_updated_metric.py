"""Metrics that keep running state, in the manner of torchmetrics, among those of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from drivetrain.evaluator._data_element import to_cpu
from drivetrain.evaluator._errors import MetricResultError


@runtime_checkable
class UpdatableMetric(Protocol):
    """What is asked of such a metric; ``torchmetrics.Metric`` is one, without being imported."""

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take one batch."""

    def compute(self) -> Any:
        """The value over all batches; synchronizes ranks on its own."""

    def reset(self) -> None:
        """Forget all batches."""


class UpdatedMetric:
    """A metric of that kind, as an evaluator uses one.

    Its ``update`` is called with the fields of what the model returned: the items of a tuple or
    list of tensors in order, the items of a mapping by name. A list of mappings, one per sample, is
    stacked into one mapping first.

    Args:
        metric: The metric. It moves to the device of the first batch if it has ``to``.
    """

    def __init__(self, metric: UpdatableMetric) -> None:
        self.metric = metric
        self.dataset_meta: dict[str, Any] | None = None

    def process(self, data_batch: Any, data_samples: Any) -> None:
        """Pass one batch to ``update``."""
        if isinstance(data_samples, Mapping):
            fields, named = (), dict(data_samples)
        elif data_samples and all(isinstance(sample, Mapping) for sample in data_samples):
            fields, named = (), _stacked(data_samples)
        else:
            fields, named = tuple(data_samples), {}
        self._follow((*fields, *named.values()))
        self.metric.update(*fields, **named)

    def evaluate(self, size: int) -> dict[str, Any]:
        """The value or values, as plain numbers and lists. Called on all ranks."""
        try:
            value = self.metric.compute()
        finally:
            self.metric.reset()
        if isinstance(value, Mapping):
            return {name: _plain(part) for name, part in value.items()}
        if value is None:
            raise MetricResultError(f"{type(self.metric).__name__}.compute returned no value")
        return {type(self.metric).__name__: _plain(value)}

    def _follow(self, fields: tuple[Any, ...]) -> None:
        """Move the metric's state to where the data are."""
        tensors = [field for field in fields if isinstance(field, Tensor)]
        move = getattr(self.metric, "to", None)
        if tensors and move is not None and getattr(self.metric, "device", None) is not None:
            self.metric = move(tensors[0].device)


def _stacked(samples: list[Mapping[str, Any]]) -> dict[str, Any]:
    """One tensor per field where the samples' values allow it, else the list of them."""
    return {name: _stack([sample[name] for sample in samples]) for name in samples[0]}


def _stack(values: list[Any]) -> Any:
    if all(isinstance(value, Tensor) and value.shape == values[0].shape for value in values):
        return torch.stack(values)
    if all(isinstance(value, (bool, int, float)) for value in values):
        return torch.tensor(values)
    return values


def _plain(value: Any) -> Any:
    value = to_cpu(value)
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else value.tolist()
    return value
