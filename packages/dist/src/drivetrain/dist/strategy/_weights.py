"""Names of weights, and the states of schedulers, on their way into a run."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from drivetrain.checkpoint import LoadReport
from drivetrain.dist._errors import StrategyConfigError, StrategyError

ReviseKeys = Sequence[tuple[str, str]]
STRIP_WRAPPER: ReviseKeys = ((r"^module\.", ""),)


_MAX_SHOWN = 10


def revised(weights: Mapping[str, Any], revise_keys: ReviseKeys) -> dict[str, Any]:
    """``weights`` with each pattern in their names replaced, in turn."""
    result = type(weights)() if isinstance(weights, OrderedDict) else {}
    for name, weight in weights.items():
        for pattern, replacement in revise_keys:
            name = re.sub(pattern, replacement, name)
        result[name] = weight
    if hasattr(weights, "_metadata"):  # versions of layers, which torch keeps on the dict
        result._metadata = weights._metadata  # pyrefly: ignore[missing-attribute]
    return result


def some_names(weights: Mapping[str, Any]) -> str:
    return ", ".join(list(weights)[:3]) + (", ..." if len(weights) > 3 else "")


def refuse_other_model(model: nn.Module, report: LoadReport) -> None:
    """Refuse to go on with a parameter that the checkpoint lacks, or has in another shape.

    Its optimizer's state would not fit either, or belong to something else.

    Raises:
        StrategyConfigError: If there is one that is trained; names all of them.
    """
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    wrong = [f"{name}: missing" for name in report.missing if name in trained]
    wrong += [
        f"{name}: {tuple(there)} in the checkpoint, {tuple(here)} in the model"
        for name, there, here in report.mismatched
        if name in trained
    ]
    if wrong:
        rows = "\n".join(f"  {row}" for row in wrong[:_MAX_SHOWN])
        more = f"\n  and {len(wrong) - _MAX_SHOWN} more" if len(wrong) > _MAX_SHOWN else ""
        raise StrategyConfigError(
            f"resume: {type(model).__name__} is another model than in the checkpoint.\n"
            f"{rows}{more}\n"
            "  Do:  give the model that the run had; or begin a new run from the weights that fit: "
            "load_from, without resume."
        )


def load_each(schedulers: Sequence[Any], states: Sequence[dict[str, Any]]) -> None:
    if len(schedulers) != len(states):
        raise StrategyError(
            f"load_scheduler_state_dict: the checkpoint holds {len(states)} schedulers, this run "
            f"has {len(schedulers)}."
        )
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(state)
