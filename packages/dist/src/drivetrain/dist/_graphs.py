"""Results of CUDA graphs that live longer than the graph's next run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

#: Modes of ``torch.compile`` that record a step's kernels, and replay them into the same memory.
GRAPH_MODES = ("reduce-overhead", "max-autotune")


def outliving_graphs(step: Callable[..., Any]) -> Callable[..., Any]:
    """``step`` with results of their own memory.

    What a replayed graph returns lies where its next run writes. A log keeps the losses of many
    steps, and would read the newest in all their places; torch raises when it notices.
    """

    @functools.wraps(step)
    def run(*args: Any, **kwargs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return _copied(step(*args, **kwargs))

    return run


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return value
