"""Telling whether a loss is a number, without what counts as a read from the device."""

from __future__ import annotations

from math import isfinite
from typing import Any

from torch import Tensor

from drivetrain.optim._errors import NonFiniteLossError


def refuse_unless_finite(loss: Any, passes_done: int, counts: int) -> None:
    """Raise if ``loss`` is a scalar on the CPU, and infinite or not a number.

    Anything else passes: on other devices a look would wait for them.

    Args:
        loss: What is about to be differentiated.
        passes_done: Backward passes so far, for the error.
        counts: Backward passes per update, for the error.

    Raises:
        NonFiniteLossError: Names the update, the value, and what can be done.
    """
    if type(loss) is not Tensor or not loss.is_cpu:  # subclasses may have no memory of their own
        return
    try:
        # Not item(): that is an operation of torch, which those who count waits for the device see.
        value = loss.tolist()
    except (RuntimeError, NotImplementedError):  # sparse, or a stand-in while a graph is traced
        return
    if isinstance(value, float) and not isfinite(value):
        raise _error(loss, passes_done, counts)


def _error(loss: Tensor, passes_done: int, counts: int) -> NonFiniteLossError:
    update = f"update {passes_done // counts + 1}"
    if counts > 1:
        update = f"backward pass {passes_done + 1} ({update}, of {counts} passes each)"
    return NonFiniteLossError(
        f"The loss of {update} is {loss.detach().item()} ({loss.dtype}). No gradient was computed, "
        "and the parameters are as before.\n"
        "  Diverged?   Use a lower learning rate, a warm-up, or clip_grad=dict(max_norm=1.0).\n"
        "  Overflow?   Train in bfloat16 or float32, or in float16 with AmpOptimWrapper.\n"
        "  Bad batch?  NaNWatchHook names the module and the batch that it comes from.\n"
        "  Expected?   check_loss=False of the optimizer wrapper turns this check off."
    )
