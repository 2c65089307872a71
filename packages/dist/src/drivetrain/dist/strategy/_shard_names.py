"""A checkpoint as tensors with flat names, which ranks can cut anew, and the plain rest.

A flat name is ``<entry>/<weight>`` or ``optimizer/<wrapper>/<parameter>/<value>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.dist._errors import StrategyError
from drivetrain.dist.strategy._shards import detached, is_cut, named_wrappers

SEPARATOR = "/"  # names of parameters hold dots
WEIGHTS = "state_dict"
MOMENTS = "optimizer"


def split(
    checkpoint: Mapping[str, Any], model: nn.Module, optim_wrapper: Any
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by flat name, and everything else; ``join`` puts them together again.

    Besides weights and the optimizer's moments, entries such as ``ema_state_dict`` are split if
    what they hold is cut.
    """
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {"entries": {}}
    for key, value in checkpoint.items():
        if key == MOMENTS:
            moments, rest["optimizer_rest"] = _split_optimizer(value, optim_wrapper, model)
            tensors |= moments
        elif key == WEIGHTS or _holds_shards(value):
            entry = {name: item for name, item in value.items() if not isinstance(item, Tensor)}
            rest["entries"][key] = entry
            tensors |= {
                f"{key}{SEPARATOR}{name}": detached(item)
                for name, item in value.items()
                if isinstance(item, Tensor)
            }
        else:
            rest[key] = value
    return tensors, rest


def join(rest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The checkpoint that was ``split``; without the optimizer if its tensors are not there."""
    joined = {k: v for k, v in rest.items() if k not in ("entries", "optimizer_rest")}
    for key, plain in rest["entries"].items():
        start = key + SEPARATOR
        weights = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
        joined[key] = {**weights, **plain}
    if "optimizer_rest" in rest:
        joined[MOMENTS] = _joined_optimizer(rest["optimizer_rest"], tensors)
    return joined


def weight_name(flat: str) -> str:
    """The name of the parameter that a tensor belongs to."""
    kind, _, name = flat.partition(SEPARATOR)
    if kind == MOMENTS:
        return name.partition(SEPARATOR)[2].rpartition(SEPARATOR)[0]
    return name.removeprefix("module.")  # averaged models hold the model under this name


def _holds_shards(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(item, Tensor) and is_cut(item) for item in value.values()
    )


def _split_optimizer(
    state: Mapping[str, Any], optim_wrapper: Any, model: nn.Module
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by flat name, and the rest with parameters by name instead of by number."""
    names = {id(param): name for name, param in model.named_parameters()}
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for key, wrapper in named_wrappers(optim_wrapper):
        own = state if key is None else state[key]
        by_number = _names_by_number(own, wrapper.optimizer, names)
        values: dict[str, dict[str, Any]] = {}
        for number, found in own["state"].items():
            values[by_number[number]] = {
                k: v for k, v in found.items() if not isinstance(v, Tensor)
            }
            for value_name, value in found.items():
                if isinstance(value, Tensor):
                    flat = SEPARATOR.join((MOMENTS, key or "", by_number[number], value_name))
                    tensors[flat] = value
        groups = [
            {**group, "params": [by_number[number] for number in group["params"]]}
            for group in own["param_groups"]
        ]
        others = {k: v for k, v in own.items() if k not in ("state", "param_groups")}
        rest[key or ""] = {"plain_state": values, "param_groups": groups, "others": others}
    return tensors, {"several": None not in dict(named_wrappers(optim_wrapper)), "wrappers": rest}


def _names_by_number(
    state: Mapping[str, Any], optimizer: torch.optim.Optimizer, names: Mapping[int, str]
) -> dict[int, str]:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    if any(id(param) not in names for param in params):
        raise StrategyError("save_checkpoint: the optimizer has parameters that the model lacks.")
    return {n: names[id(param)] for n, param in zip(numbers, params, strict=True)}


def _joined_optimizer(rest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    joined = {
        key: _joined_wrapper(own, _values_of(key, tensors)) for key, own in rest["wrappers"].items()
    }
    return joined if rest["several"] else joined[""]


def _joined_wrapper(
    own: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, Any]:
    """The state of one wrapper, with parameters by number again."""
    ordered = [name for group in own["param_groups"] for name in group["params"]]
    number = {name: index for index, name in enumerate(ordered)}
    values: dict[int, dict[str, Any]] = {}
    for name in [*own["plain_state"], *(n for n in tensors if n not in own["plain_state"])]:
        values[number[name]] = {**own["plain_state"].get(name, {}), **tensors.get(name, {})}
    groups = [
        {**group, "params": [number[name] for name in group["params"]]}
        for group in own["param_groups"]
    ]
    return {**own["others"], "state": dict(sorted(values.items())), "param_groups": groups}


def _values_of(key: str, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors of one wrapper, by parameter and by name of the value."""
    start = SEPARATOR.join((MOMENTS, key, ""))
    values: dict[str, dict[str, Tensor]] = {}
    for flat, tensor in tensors.items():
        if flat.startswith(start):
            name, _, value_name = flat.removeprefix(start).rpartition(SEPARATOR)
            values.setdefault(name, {})[value_name] = tensor
    return values
