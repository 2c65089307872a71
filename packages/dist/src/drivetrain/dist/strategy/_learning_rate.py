"""Scaling the learning rate to the batch size that is really trained with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from drivetrain.dist._errors import StrategyConfigError, StrategyError
from drivetrain.dist.strategy._session import check_keys
from drivetrain.logging import print_log


def scale_lr(
    optim_wrapper: Any, auto_scale_lr: Mapping[str, Any] | None, real_batch_size: int | None
) -> float:
    """Multiply every learning rate by ``real_batch_size / base_batch_size``.

    Args:
        optim_wrapper: A wrapper, or a mapping of names to wrappers; changed in place. Schedulers
            take their start from it, so it must come before them.
        auto_scale_lr: ``base_batch_size``, for which the learning rate was chosen, and ``enable``.
            Nothing happens without it, or when ``enable`` is false.
        real_batch_size: Samples in one step over all ranks.

    Returns:
        The factor; 1.0 when nothing happened.

    Raises:
        StrategyConfigError: If ``auto_scale_lr`` has other keys or values, or the batch size is not
            known.

    Source: Goyal et al., Accurate, Large Minibatch SGD (2017), section 2.1.
    """
    if not auto_scale_lr:
        return 1.0
    if not isinstance(auto_scale_lr, Mapping):
        raise StrategyConfigError(
            f"auto_scale_lr is a dict of enable and base_batch_size, got {auto_scale_lr!r}"
        )
    check_keys("auto_scale_lr", auto_scale_lr, ("enable", "base_batch_size"))
    if not auto_scale_lr.get("enable", False):
        return 1.0
    base = auto_scale_lr.get("base_batch_size")
    if not isinstance(base, int) or base < 1:
        state = "missing" if base is None else f"no whole number from 1 on: {base!r}"
        raise StrategyConfigError(
            f"auto_scale_lr: base_batch_size is {state}.\n"
            "  Do:  give the batch size, over all ranks, for which the learning rate was chosen."
        )
    if real_batch_size is None:
        raise StrategyConfigError(
            "auto_scale_lr: the batch size of a rank is not known.\n"
            "  Do:  pass train_micro_batch_size_per_gpu in dispatch_kwargs."
        )
    factor = real_batch_size / base
    print_log(
        f"auto_scale_lr: base batch size {base}, real batch size {real_batch_size}: learning rates "
        f"are multiplied by {factor:g}",
        logger="current",
    )
    for wrapper in _wrappers(optim_wrapper):
        for group in wrapper.param_groups:
            group["lr"] = group["lr"] * factor
    return factor


def check_schedules_follow(factor: float, param_scheduler: Any) -> None:
    """Refuse schedulers that were built before the rates were scaled: they keep the old ones.

    Args:
        factor: What the rates were multiplied by.
        param_scheduler: Schedulers or their configs, alone or in a list.

    Raises:
        StrategyError: If one of them is built, and the factor is not 1.
    """
    nodes = param_scheduler if isinstance(param_scheduler, (list, tuple)) else [param_scheduler]
    if factor != 1.0 and any(n is not None and not isinstance(n, Mapping) for n in nodes):
        raise StrategyError(
            "auto_scale_lr: a scheduler was built before the learning rates were scaled, and keeps "
            "the old ones.\n  Do:  give its config, so that it is built afterwards."
        )


def _wrappers(optim_wrapper: Any) -> Iterator[Any]:
    """The single wrappers: several optimizers come as a mapping of names to wrappers."""
    values = getattr(optim_wrapper, "values", None)
    if values is None:
        yield optim_wrapper
    else:
        yield from values()
