"""Metrics that keep running state, in the manner of torchmetrics, among those of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch import distributed as torch_dist

from drivetrain.dist import all_gather_object, broadcast_object, is_distributed
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
        self._has_data = False

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
        self._has_data = True

    def evaluate(self, size: int) -> dict[str, Any]:
        """The value or values, as plain numbers and lists. Called on all ranks."""
        try:
            value = self._computed()
        finally:
            self.metric.reset()
            self._has_data = False
        if isinstance(value, Mapping):
            return {name: _plain(part) for name, part in value.items()}
        if value is None:
            raise MetricResultError(f"{type(self.metric).__name__}.compute returned no value")
        return {type(self.metric).__name__: _plain(value)}

    def _computed(self) -> Any:
        """The value; where some ranks saw no sample, the others find it and tell them.

        torchmetrics cannot gather lists that are empty on some ranks: types and sizes differ.
        """
        parts = getattr(self.metric, "modules", tuple)()
        grouped = [part for part in parts if hasattr(part, "process_group")]
        if not grouped or not is_distributed():
            return self.metric.compute()
        has_data = all_gather_object(self._has_data)
        if all(has_data) or not any(has_data):
            return self.metric.compute()
        ranks = [rank for rank, has in enumerate(has_data) if has]
        group = torch_dist.new_group(ranks)
        value = to_cpu(self._computed_among(group, grouped)) if self._has_data else None
        return broadcast_object(value, src=ranks[0])

    def _computed_among(self, group: Any, parts: list[Any]) -> Any:
        before = [part.process_group for part in parts]
        for part in parts:
            part.process_group = group
        try:
            return self.metric.compute()
        finally:
            for part, its_group in zip(parts, before, strict=True):
                part.process_group = its_group
            torch_dist.destroy_process_group(group)

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
