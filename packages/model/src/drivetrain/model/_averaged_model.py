"""Averages of a model's weights over the course of training."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.model._errors import AveragingError, ModelArgumentError
from drivetrain.model._module_slots import ModuleSlots, devices_of
from drivetrain.registry import MODELS


class BaseAveragedModel(nn.Module, ABC):
    """A copy of a model whose parameters are averages of those that the model had.

    A subclass says in :meth:`avg_func` how one tensor is averaged, or, faster, in
    :meth:`avg_tensors` how all are at once. The first update copies.

    Args:
        model: The model to average. It is copied.
        interval: Update at every ``interval``-th call of :meth:`update_parameters`.
        device: Where the average is kept; by default beside the model.
        update_buffers: Average floating-point buffers too; otherwise buffers are copied at every
            call. Buffers of integers are always copied.

    Raises:
        ModelArgumentError: If ``interval`` is below 1.
        AveragingError: If ``model`` is sharded in a way that cannot be copied.
    """

    def __init__(
        self,
        model: nn.Module,
        interval: int = 1,
        device: torch.device | str | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(interval, int) or interval < 1:
            raise ModelArgumentError(
                f"{type(self).__name__}: interval must be at least 1, got {interval}; "
                "it counts calls"
            )
        self.module = self._copy_of(model).requires_grad_(False)
        if device is not None:
            self.module = self.module.to(device)
        self.interval = interval
        self.update_buffers = update_buffers
        self._count = 0
        self._buffers["steps"] = torch.tensor(0, dtype=torch.long, device=device)
        self._targets: _Targets | None = None
        self._source: ModuleSlots | None = None

    def _copy_of(self, model: Any) -> nn.Module:
        if hasattr(model, "sharded_copy"):  # FSDPStrategy cut it, and knows how to do so again
            return model.sharded_copy()
        if hasattr(model, "set_requires_gradient_sync"):
            raise AveragingError(
                f"{type(self).__name__}: a fully sharded model cannot be copied. Make the average "
                "first, then call fully_shard on the model and on the average's .module."
            )
        if any(hasattr(param, "_fsdp_flattened") for param in model.parameters()):
            raise AveragingError(
                f"{type(self).__name__}: a model that FSDP's first generation cut cannot be "
                "averaged; use FSDPStrategy without its wrapper."
            )
        return copy.deepcopy(model)

    @abstractmethod
    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Update the average of one tensor in place.

        Args:
            averaged_param: The average so far.
            source_param: The model's tensor, on the same device.
            steps: Calls of :meth:`update_parameters` before this one.
        """

    def avg_tensors(self, averaged: list[Tensor], source: list[Tensor], steps: int) -> None:
        """Update the averages of many tensors in place; by default one by one.

        Args:
            averaged: The averages so far.
            source: The model's tensors, in the same order and on the same devices.
            steps: Calls of :meth:`update_parameters` before this one.
        """
        for own, theirs in zip(averaged, source, strict=True):
            self.avg_func(own, theirs, steps)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the averaged model.

        Args:
            *args: Positional arguments of the model.
            **kwargs: Its other arguments.

        Returns:
            What the averaged model returns.
        """
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the model's present weights into the average.

        Args:
            model: The model, with the structure that it had when this object was made.

        Raises:
            AveragingError: If the structure differs.
        """
        if self._targets is None or not self._targets.describe(self.module):
            self._targets = _Targets(self.module, self.update_buffers)
        averaged, copied = _own_parts(self._targets.averaged), self._targets.copied
        current, originals = self._slots_of(model).tensors(self.update_buffers)
        current = _own_parts(current)
        if self._count == 0:
            _copy(averaged, current)
        elif self._count % self.interval == 0:
            self._average(averaged, current)
        _copy(copied, originals)
        self._count += 1

    @property
    def steps(self) -> Tensor:
        """Calls of :meth:`update_parameters` so far; a buffer, written when somebody looks."""
        steps = self._buffers["steps"]
        return steps.fill_(self._count)  # type: ignore[union-attr]  # it is never None

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.steps.detach()  # brings the buffer up to date
        super()._save_to_state_dict(*args, **kwargs)

    def _average(self, averaged: list[Tensor], source: list[Tensor]) -> None:
        if self._targets is not None and self._targets.devices != devices_of(source):
            source = [s.to(a.device) for a, s in zip(averaged, source, strict=True)]
        self.avg_tensors(averaged, source, self._count)

    def _slots_of(self, model: nn.Module) -> ModuleSlots:
        if self._source is None or not self._source.describes(model):
            source = ModuleSlots(model)
            difference = ModuleSlots(self.module).difference(source)
            if difference is not None:
                raise AveragingError(
                    f"{type(self).__name__}: the model is not the one that is averaged: "
                    f"{difference}. Pass the same (unwrapped) model as at construction."
                )
            self._source = source
        return self._source

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._count = int(self._buffers["steps"])  # type: ignore[arg-type]  # it is never None
        self._targets = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BaseAveragedModel:
        super()._apply(fn, recurse)
        self._targets = None
        return self

    def __getstate__(self) -> dict[str, Any]:
        # These point into modules that a copy does not share.
        return {**vars(self), "_targets": None, "_source": None}


class _Targets:
    """The tensors of the averaged model; the same until it is moved, loaded or sharded."""

    def __init__(self, module: nn.Module, average_buffers: bool) -> None:
        self._module = module
        self._slots = ModuleSlots(module)
        self.averaged, self.copied = self._slots.tensors(average_buffers)
        self.devices = devices_of(self.averaged)

    def describe(self, module: nn.Module) -> bool:
        """Tell whether these are those of ``module``; what replaces any replaces the first."""
        first = self.averaged[0] if self.averaged else None
        return module is self._module and self._slots.first_param() is first


def _own_parts(tensors: list[Tensor]) -> list[Tensor]:
    """What this rank holds of sharded tensors: averages are cut as their models are."""
    if not tensors or not hasattr(tensors[0], "to_local"):
        return tensors
    return [getattr(tensor, "to_local", lambda tensor=tensor: tensor)() for tensor in tensors]


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    if targets:
        torch._foreach_copy_(targets, sources)


@MODELS.register_module()
class StochasticWeightAverage(BaseAveragedModel):
    """The plain mean of the weights at every ``interval``-th step.

    With ``n`` weights in it, ``average = average + (weight - average) / (n + 1)``.

    Source: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization (UAI
    2018), arXiv:1803.05407, algorithm 1.
    """

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Take ``source_param`` into the mean.

        Args:
            averaged_param: The average so far, changed in place.
            source_param: The model's tensor, of the same shape and on the same device.
            steps: Calls of ``update_parameters`` before this one.
        """
        averaged_param.lerp_(source_param, 1 / (steps // self.interval + 1))

    def avg_tensors(self, averaged: list[Tensor], source: list[Tensor], steps: int) -> None:
        """Take all of ``source`` into the means.

        Args:
            averaged: The averages so far, changed in place.
            source: The model's tensors, in the same order, shapes and devices.
            steps: Calls of ``update_parameters`` before this one.
        """
        torch._foreach_lerp_(averaged, source, 1 / (steps // self.interval + 1))


@MODELS.register_module()
class ExponentialMovingAverage(BaseAveragedModel):
    """``average = (1 - momentum) * average + momentum * weight``, at every ``interval``-th step.

    Args:
        model: The model to average. It is copied.
        momentum: Weight of the newest value, between 0 and 1; small values average longer.
        interval: Update at every ``interval``-th call.
        device: Where the average is kept; by default beside the model.
        update_buffers: Average floating-point buffers too.

    Raises:
        ModelArgumentError: If ``momentum`` is not between 0 and 1.

    Source: Tarvainen and Valpola, Mean teachers are better role models (NeurIPS 2017),
    arXiv:1703.01780; its ``alpha`` is ``1 - momentum``.
    """

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        interval: int = 1,
        device: torch.device | str | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, interval, device, update_buffers)
        if not 0.0 < momentum < 1.0:
            raise ModelArgumentError(
                f"{type(self).__name__}: momentum must be between 0 and 1, got {momentum}. "
                "It is the weight of the newest value, e.g. 0.0002."
            )
        self.momentum = momentum

    def momentum_at(self, steps: int) -> float:
        """Return the weight of the newest value at a step.

        Args:
            steps: Calls of ``update_parameters`` before this one.

        Returns:
            A number from 0 to 1.
        """
        return self.momentum

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Move the average of one tensor towards its present value.

        Args:
            averaged_param: The average so far, changed in place.
            source_param: The model's tensor, of the same shape and on the same device.
            steps: Calls of ``update_parameters`` before this one.
        """
        averaged_param.lerp_(source_param, self.momentum_at(steps))

    def avg_tensors(self, averaged: list[Tensor], source: list[Tensor], steps: int) -> None:
        """Move the averages of all tensors towards their present values.

        Args:
            averaged: The averages so far, changed in place.
            source: The model's tensors, in the same order, shapes and devices.
            steps: Calls of ``update_parameters`` before this one.
        """
        torch._foreach_lerp_(averaged, source, self.momentum_at(steps))


@MODELS.register_module()
class MomentumAnnealingEMA(ExponentialMovingAverage):
    """An exponential moving average that follows quickly at first.

    The weight of the newest value is ``max(momentum, gamma / (gamma + steps))``.

    Args:
        model: The model to average. It is copied.
        momentum: The weight that is reached in the end.
        gamma: How many steps the quick phase lasts, by order of magnitude.
        interval: Update at every ``interval``-th call.
        device: Where the average is kept; by default beside the model.
        update_buffers: Average floating-point buffers too.

    Raises:
        ModelArgumentError: If ``gamma`` is not positive.
    """

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        gamma: int = 100,
        interval: int = 1,
        device: torch.device | str | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, momentum, interval, device, update_buffers)
        if not gamma > 0:
            raise ModelArgumentError(
                f"{type(self).__name__}: gamma must be greater than 0, got {gamma}"
            )
        self.gamma = gamma

    def momentum_at(self, steps: int) -> float:
        """Return the weight of the newest value at a step.

        Args:
            steps: Calls of ``update_parameters`` before this one.

        Returns:
            A number from 0 to 1.
        """
        return max(self.momentum, self.gamma / (self.gamma + steps))
