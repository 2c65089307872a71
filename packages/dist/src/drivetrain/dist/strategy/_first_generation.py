"""Whole state of a model that ``MMFullyShardedDataParallel`` (FSDP1) cut, and back."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from drivetrain.checkpoint import StateDictMismatchError, get_state_dict
from drivetrain.dist._errors import StrategyError
from drivetrain.dist._group import get_rank
from drivetrain.dist.strategy._base import BaseStrategy
from drivetrain.dist.strategy._shards import map_tensors, named_wrappers, own_part
from drivetrain.dist.strategy._weights import STRIP_WRAPPER, ReviseKeys, revised

_WRAPPER_PREFIX = "_fsdp_wrapped_module."
_FSDP1 = "torch.distributed.fsdp.fully_sharded_data_parallel"


def is_first_generation(model: nn.Module | None) -> bool:
    """Whether a model was cut by FSDP1; without that class loaded none can be."""
    module = sys.modules.get(_FSDP1)
    return module is not None and isinstance(model, module.FullyShardedDataParallel)


def whole_weights(model: nn.Module) -> dict[str, Any]:
    """Whole weights on the CPU of rank 0, nothing elsewhere; called on all ranks."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    # Not cpu_offload=True: with shards on the CPU, torch 2.13 reads freed memory in it.
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    return map_tensors(weights, own_part) if get_rank() == 0 else {}


def load_whole_weights(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Take whole weights, which every rank brings, and keep those that are not among them."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    options = StateDictOptions(full_state_dict=True, strict=False)
    set_model_state_dict(model, dict(weights), options=options)


def whole_optimizer_state(model: nn.Module, optim_wrapper: Any) -> dict[str, Any]:
    """State of the optimizer wrapper with whole moments, on rank 0; called on all ranks."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    wrapper = _only_wrapper(optim_wrapper)
    whole: Any = get_optimizer_state_dict(
        model, wrapper.optimizer, options=StateDictOptions(full_state_dict=True)
    )
    if get_rank() != 0:
        return {}
    moments = map_tensors(whole["state"], own_part)
    names = _names(model, wrapper.optimizer)
    by_number = {number: moments[name] for number, name in enumerate(names) if name in moments}
    return {**wrapper.state_dict(), "state": by_number}


def load_whole_optimizer_state(
    model: nn.Module, optim_wrapper: Any, state: Mapping[str, Any]
) -> None:
    """Take a state with whole moments, which every rank brings."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

    wrapper = _only_wrapper(optim_wrapper)
    names = _names(model, wrapper.optimizer)
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    name_of = dict(zip(numbers, names, strict=True))
    moments = {name_of[number]: values for number, values in state["state"].items()}
    groups = [
        {**group, "params": [name_of[number] for number in group["params"]]}
        for group in state["param_groups"]
    ]
    named: Any = {"state": moments, "param_groups": groups}
    set_optimizer_state_dict(
        model,
        wrapper.optimizer,
        named,
        options=StateDictOptions(full_state_dict=True),
    )
    # What a wrapper keeps besides its optimizer, such as the scale of the loss.
    wrapper.load_state_dict({**state, **wrapper.optimizer.state_dict()})


def _only_wrapper(optim_wrapper: Any) -> Any:
    wrappers = dict(named_wrappers(optim_wrapper))
    if None not in wrappers:
        raise StrategyError(
            "MMFullyShardedDataParallel: checkpoints of several optimizers are not supported.\n"
            "  Do:  use FSDPStrategy."
        )
    return wrappers[None]


def _names(model: nn.Module, optimizer: Any) -> list[str]:
    by_id = {id(p): n.replace(_WRAPPER_PREFIX, "") for n, p in model.named_parameters()}
    return [by_id[id(param)] for group in optimizer.param_groups for param in group["params"]]


class FirstGenerationState(BaseStrategy):
    """State of a model that may be cut by FSDP1, because a wrapper of that kind was asked for."""

    def model_state_dict(self) -> dict[str, Any]:
        """Weights of the model, without prefixes of wrappers; called on all ranks."""
        if self.model is not None and is_first_generation(self.model):
            return whole_weights(self.model)
        return super().model_state_dict()

    def _live_weights(self) -> dict[str, Any]:
        """Weights where they are, unless they must be gathered."""
        if self.model is not None and is_first_generation(self.model):
            return whole_weights(self.model)
        # Not a copy as a plain dict: that would lose the versions of the layers.
        return cast("dict[str, Any]", get_state_dict(self._bare()))

    def optim_state_dict(self) -> dict[str, Any]:
        """State of the optimizer wrapper; called on all ranks."""
        if self.model is not None and is_first_generation(self.model):
            return whole_optimizer_state(self.model, self.optim_wrapper)
        return super().optim_state_dict()

    def load_model_state_dict(
        self,
        state_dict: dict[str, Any],
        *,
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_WRAPPER,
    ) -> None:
        """Put weights into the model; called on all ranks with the same weights."""
        if self.model is None or not is_first_generation(self.model):
            super().load_model_state_dict(state_dict, strict=strict, revise_keys=revise_keys)
            return
        weights, outline = revised(state_dict, revise_keys), self._model_outline()
        # Torch cuts what it gets by the shapes that it expects, whatever it gets.
        report = outline.report({name: weight.shape for name, weight in weights.items()})
        outline.refuse_other(weights, report, in_full=self._resumes_training)
        if strict and not report.fits:
            raise StateDictMismatchError(str(report))
        if not report.fits:
            self.logger.warning(str(report))
        unfit = {*report.unexpected, *(mismatch.name for mismatch in report.mismatched)}
        fitting = {name: weight for name, weight in weights.items() if name not in unfit}
        load_whole_weights(self.model, fitting)

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put a state into the optimizer wrapper; called on all ranks with the same state."""
        if self.model is not None and is_first_generation(self.model):
            load_whole_optimizer_state(self.model, self.optim_wrapper, state_dict)
        else:
            super().load_optim_state_dict(state_dict)
