"""Names of weights, and the states of schedulers, on their way into a run."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from drivetrain.dist._errors import StrategyError

ReviseKeys = Sequence[tuple[str, str]]
STRIP_WRAPPER: ReviseKeys = ((r"^module\.", ""),)


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


def load_each(schedulers: Sequence[Any], states: Sequence[dict[str, Any]]) -> None:
    if len(schedulers) != len(states):
        raise StrategyError(
            f"load_scheduler_state_dict: the checkpoint holds {len(states)} schedulers, this run "
            f"has {len(schedulers)}."
        )
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(state)
