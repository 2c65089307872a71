"""Weights under other names."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from drivetrain.checkpoint._errors import CheckpointContentError

KeyRevisions = Sequence[tuple[str, str]]
STRIP_WRAPPER: KeyRevisions = ((r"^module\.", ""),)


def revised_keys(
    weights: Mapping[str, Any], revise_keys: KeyRevisions = STRIP_WRAPPER
) -> OrderedDict[str, Any]:
    """Return the weights under new names; the versions of their layers are kept.

    Args:
        weights: Weights by name.
        revise_keys: Pairs of a regular expression and its replacement, applied to each name in
            turn. The default cuts the ``module.`` of a wrapped model.

    Raises:
        CheckpointContentError: If two weights get the same name.

    Example:
        >>> list(revised_keys({"net.0.weight": 1}, [(r"^net", "backbone")]))
        ['backbone.0.weight']
    """
    names = list(weights)
    for pattern, replacement in revise_keys:
        names = [re.sub(pattern, replacement, name) for name in names]
    result = OrderedDict(zip(names, weights.values(), strict=True))
    if len(result) != len(weights):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        raise CheckpointContentError(f"revise_keys gives several weights one name: {twice[:5]}")
    if hasattr(weights, "_metadata"):
        result._metadata = weights._metadata  # type: ignore[attr-defined]  # torch does the same
    return result
