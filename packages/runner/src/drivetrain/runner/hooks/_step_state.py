"""What a training step starts from, kept so that the step can be run again."""

from __future__ import annotations

import copy
import ctypes
import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_MT19937_BYTES = 624 * 4 + 4  # the key, and the position in it


class RandomState:
    """Where the random generators of this process stand; taken in microseconds, without waiting.

    Args:
        device: Whose generator counts, besides those of Python, NumPy and torch's CPU.
        earlier: An earlier one, whose NumPy state serves again if it has not moved since.
    """

    def __init__(self, device: torch.device, earlier: RandomState | None = None) -> None:
        self._device = device
        self._python = random.getstate()
        self._numpy_raw = _raw_numpy_state()
        if earlier is not None and earlier._numpy_raw == self._numpy_raw is not None:
            self._numpy = earlier._numpy
        else:
            self._numpy = np.random.get_state(legacy=False)
        self._torch = torch.get_rng_state()
        module = getattr(torch, device.type, None)
        self._on_device = None
        if device.type != "cpu" and hasattr(module, "get_rng_state"):
            self._on_device = module.get_rng_state()

    def restore(self) -> None:
        """Bring the generators there."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        if self._on_device is not None:
            getattr(torch, self._device.type).set_rng_state(self._on_device)


def _raw_numpy_state() -> bytes | None:
    """The memory of NumPy's generator: ``get_state`` takes 30 µs, looking whether it moved 1."""
    generator = np.random.mtrand._rand._bit_generator
    if not isinstance(generator, np.random.MT19937):
        return None
    return ctypes.string_at(generator.ctypes.state_address, _MT19937_BYTES)


@dataclass
class Step:
    """One training step: what it began with, and what came of it, still on the device."""

    iteration: int
    epoch: int
    batch_in_epoch: int
    data_batch: Any
    random_state: RandomState
    rates: list[list[float]]
    checks: list[Tensor] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def wrappers_of(optim_wrapper: Any) -> list[Any]:
    """The wrapper, or those in a dict of several."""
    several = getattr(optim_wrapper, "optim_wrappers", None)
    return [optim_wrapper] if several is None else list(several.values())


def rates_of(wrappers: Iterable[Any]) -> list[list[float]]:
    """Learning rates of all parameter groups."""
    return [[group["lr"] for group in one.optimizer.param_groups] for one in wrappers]


def set_rates(wrappers: Iterable[Any], rates: list[list[float]]) -> None:
    """Put the learning rates of a step back."""
    for one, values in zip(wrappers, rates, strict=True):
        for group, rate in zip(one.optimizer.param_groups, values, strict=True):
            group["lr"] = rate


class Snapshot:
    """A copy of the model, its gradients and the optimizers, on their device.

    Args:
        model: The model; a wrapped one shares its tensors with what is inside.
        wrappers: The optimizer wrappers.
    """

    def __init__(self, model: nn.Module, wrappers: list[Any]) -> None:
        self._tensors = _tensors_of(model)
        self._values = [tensor.detach().clone() for tensor in self._tensors]
        self._parameters = list(model.parameters())
        self._gradients = [None if p.grad is None else p.grad.clone() for p in self._parameters]
        self._wrappers = wrappers
        self._optimizers = [copy.deepcopy(one.state_dict()) for one in wrappers]
        self._counts = [getattr(one, "_inner_count", None) for one in wrappers]

    def restore(self) -> None:
        """Bring everything there."""
        with torch.no_grad():
            for tensor, value in zip(self._tensors, self._values, strict=True):
                tensor.detach().copy_(value)
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        for one, state, count in zip(self._wrappers, self._optimizers, self._counts, strict=True):
            one.load_state_dict(copy.deepcopy(state))
            if count is not None:
                one._inner_count = count


class Buffers:
    """A copy of the model's buffers, renewed before each step: a forward pass moves them.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._live = list(model.buffers())
        self._kept = [buffer.detach().clone() for buffer in self._live]

    def keep(self) -> None:
        """Renew the copy."""
        if self._live:
            torch._foreach_copy_(self._kept, self._live)

    def restore(self) -> None:
        """Bring the buffers back to the copy."""
        if self._live:
            torch._foreach_copy_(self._live, self._kept)


def _tensors_of(model: nn.Module) -> list[Tensor]:
    return list(itertools.chain(model.parameters(), model.buffers()))
