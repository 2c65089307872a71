"""From config nodes to optimizer wrappers and schedulers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from drivetrain.optim._errors import OptimTypeError, ScheduleError, misspelt, nearest
from drivetrain.optim._optim_wrapper import BaseOptimWrapper
from drivetrain.optim._scheduler import _ParamScheduler
from drivetrain.optim._wrapper_dict import OptimWrapperDict
from drivetrain.registry import (
    FUNCTIONS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
    building,
)

Schedulers = list[_ParamScheduler] | dict[str, list[_ParamScheduler]]


@FUNCTIONS.register_module()
def build_optim_wrapper(
    model: nn.Module, cfg: BaseOptimWrapper | Mapping[str, Any]
) -> BaseOptimWrapper:
    """Build the optimizer wrapper of a model.

    Args:
        model: The model whose parameters are optimized.
        cfg: One of

            - a wrapper, returned as it is;
            - a node with ``optimizer`` (a node, or a built optimizer); ``type`` defaults to
              ``'OptimWrapper'``, ``paramwise_cfg`` gives settings by parameter;
            - a node with ``constructor``, the name or node of what builds it;
            - a dict of built wrappers, which become an :class:`OptimWrapperDict`.

    Returns:
        The optimizer wrapper.

    Raises:
        OptimTypeError: If ``cfg`` is none of these.

    Example:
        >>> cfg = dict(optimizer=dict(type="SGD", lr=0.01))
        >>> wrapper = build_optim_wrapper(nn.Linear(2, 1), cfg)
        >>> wrapper.get_lr()
        {'lr': [0.01]}
    """
    if isinstance(cfg, BaseOptimWrapper):
        return cfg
    if not isinstance(cfg, Mapping):
        raise OptimTypeError(
            f"optim_wrapper must be an optimizer wrapper or a dict, got {type(cfg).__name__}"
        )
    with building("optim_wrapper"):
        if isinstance(cfg.get("optimizer"), Optimizer):
            return OPTIM_WRAPPERS.build({"type": "OptimWrapper", **cfg})
        if "constructor" in cfg or "optimizer" in cfg:
            return _construct(model, cfg)
    if cfg and all(isinstance(member, BaseOptimWrapper) for member in cfg.values()):
        return OptimWrapperDict(**cfg)
    raise OptimTypeError(
        "optim_wrapper must hold 'optimizer', e.g. dict(optimizer=dict(type='SGD', lr=0.01)), "
        "or 'constructor' for several optimizers, or only built wrappers; "
        f"it holds {', '.join(map(repr, cfg)) or 'nothing'}.{misspelt('optimizer', cfg)}"
    )


def _construct(model: nn.Module, cfg: Mapping[str, Any]) -> BaseOptimWrapper:
    wrapper_cfg = copy.deepcopy(dict(cfg))  # constructors of users may pop from what they get
    constructor = wrapper_cfg.pop("constructor", "DefaultOptimWrapperConstructor")
    node = dict(constructor) if isinstance(constructor, Mapping) else {"type": constructor}
    node["paramwise_cfg"] = wrapper_cfg.pop("paramwise_cfg", None)
    node["optim_wrapper_cfg"] = wrapper_cfg
    return OPTIM_WRAPPER_CONSTRUCTORS.build(node)(model)


@FUNCTIONS.register_module()
def build_param_schedulers(
    cfg: Any,
    optim_wrapper: BaseOptimWrapper | Optimizer,
    *,
    epoch_length: int | None = None,
    max_epochs: int | None = None,
    max_iters: int | None = None,
) -> Schedulers:
    """Build the parameter schedulers of a run.

    A node without ``end`` gets the end of the run: ``max_epochs``, or ``max_iters`` for a schedule
    by iteration. With ``convert_to_iter_based=True`` a node in epochs becomes a schedule by
    iteration.

    Args:
        cfg: A scheduler, a node, or a list of them. For an :class:`OptimWrapperDict` also a dict
            that gives these for each name; otherwise each optimizer gets schedulers of its own
            from the same nodes.
        optim_wrapper: What is scheduled.
        epoch_length: Iterations per epoch.
        max_epochs: Epochs of the run.
        max_iters: Iterations of the run.

    Returns:
        A list; for an :class:`OptimWrapperDict` a dict of lists.

    Raises:
        OptimTypeError: If something that is neither scheduler nor node stands in ``cfg``.
        ScheduleError: If ``cfg`` names an optimizer that does not exist, or a conversion to
            iterations lacks the length of an epoch.
    """
    run = {"epoch_length": epoch_length, "max_epochs": max_epochs, "max_iters": max_iters}
    with building("param_scheduler"):
        if not isinstance(optim_wrapper, OptimWrapperDict):
            return _build_list(cfg, optim_wrapper, run)
        by_name = isinstance(cfg, Mapping) and "type" not in cfg
        if by_name:
            _check_names(cfg, optim_wrapper)
        return {
            name: _build_list(cfg[name] if by_name else cfg, member, run)
            for name, member in optim_wrapper.items()
        }


def _check_names(cfg: Mapping[str, Any], optim_wrapper: OptimWrapperDict) -> None:
    for name in set(cfg) ^ set(optim_wrapper):
        what = "has no schedulers" if name in optim_wrapper else "is no optimizer"
        raise ScheduleError(
            f"param_scheduler: {name!r} {what}; the optimizers are {', '.join(optim_wrapper)}."
            f"{nearest(name, cfg if name in optim_wrapper else optim_wrapper)} "
            "(An empty list means: none.)"
        )


def _build_list(cfg: Any, optimizer: Any, run: Mapping[str, int | None]) -> list[_ParamScheduler]:
    if cfg is None:
        return []
    is_list = isinstance(cfg, Sequence) and not isinstance(cfg, str)
    schedulers: list[_ParamScheduler] = []
    for index, node in enumerate(cfg if is_list else [cfg]):
        if isinstance(node, _ParamScheduler):
            schedulers.append(node)
            continue
        if not isinstance(node, Mapping):
            raise OptimTypeError(
                f"param_scheduler: a scheduler or a dict with 'type' is needed, got {node!r}"
            )
        with building(f"[{index}]" if is_list else ""):
            schedulers.append(_build_one(node, optimizer, run))
    return schedulers


def _build_one(
    node: Mapping[str, Any], optimizer: Any, run: Mapping[str, int | None]
) -> _ParamScheduler:
    cfg = dict(node)
    default_end = run["max_epochs"] if cfg.get("by_epoch", True) else run["max_iters"]
    if default_end:  # of a run without steps no schedule gets to an end
        cfg.setdefault("end", default_end)
    cfg["optimizer"] = optimizer
    if not cfg.get("convert_to_iter_based", False):
        return PARAM_SCHEDULERS.build(cfg)
    if run["epoch_length"] is None:
        raise ScheduleError(
            f"param_scheduler: convert_to_iter_based of {cfg.get('type')!r} needs the number of "
            "iterations in an epoch, which this run does not know. Give the numbers in iterations, "
            "with by_epoch=False."
        )
    # The registry knows how to convert, and names the place in its errors.
    return PARAM_SCHEDULERS.build({**cfg, "epoch_length": run["epoch_length"]})
