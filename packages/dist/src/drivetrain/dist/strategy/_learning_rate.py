"""Scaling the learning rate to the batch size that is really trained with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from drivetrain.dist._errors import StrategyConfigError
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

    Source: Goyal et al., Accurate, Large Minibatch SGD (2017), section 2.1.
    """
    if not auto_scale_lr or not auto_scale_lr.get("enable", False):
        return 1.0
    if "base_batch_size" not in auto_scale_lr:
        raise StrategyConfigError(
            "auto_scale_lr: base_batch_size is missing.\n"
            "  Do:  give the batch size, over all ranks, for which the learning rate was chosen."
        )
    if real_batch_size is None:
        raise StrategyConfigError(
            "auto_scale_lr: the batch size of a rank is not known.\n"
            "  Do:  pass train_micro_batch_size_per_gpu in dispatch_kwargs."
        )
    factor = real_batch_size / auto_scale_lr["base_batch_size"]
    print_log(
        f"auto_scale_lr: base batch size {auto_scale_lr['base_batch_size']}, real batch size "
        f"{real_batch_size}: learning rates are multiplied by {factor:g}",
        logger="current",
    )
    for wrapper in _wrappers(optim_wrapper):
        for group in wrapper.param_groups:
            group["lr"] = group["lr"] * factor
    return factor


def _wrappers(optim_wrapper: Any) -> Iterator[Any]:
    """The single wrappers: several optimizers come as a mapping of names to wrappers."""
    values = getattr(optim_wrapper, "values", None)
    if values is None:
        yield optim_wrapper
    else:
        yield from values()
