"""What a batch looked like, for the traceback of a model that failed on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

_SHOWN_ITEMS = 6


def note_batch(err: Exception, model: nn.Module, mode: str, data: Any) -> None:
    """Let the traceback of ``err`` tell the shapes and types that ``forward`` was given."""
    parameter = next(model.parameters(), None)
    own = "" if parameter is None else f", whose parameters are {parameter.dtype}"
    note = (
        f"In {type(model).__name__}.forward(mode={mode!r}){own}, on the batch {_outline(data)}. "
        "Shapes and types come from the dataset's pipeline, the collate_fn, and the model's "
        "data_preprocessor."
    )
    if hasattr(err, "add_note"):  # from Python 3.11 on
        err.add_note(note)
    elif len(err.args) == 1 and isinstance(err.args[0], str):  # before, a traceback shows no notes
        err.args = (f"{err.args[0]}\n{note}",)


def _outline(data: Any) -> str:
    if isinstance(data, Tensor):
        kind = str(data.dtype).removeprefix("torch.")
        return f"{kind}{tuple(data.shape)}" + ("" if data.is_cpu else f" on {data.device}")
    if isinstance(data, Mapping):
        shown = [f"{key}: {_outline(value)}" for key, value in list(data.items())[:_SHOWN_ITEMS]]
        return "{" + ", ".join([*shown, *_rest(data)]) + "}"
    if isinstance(data, list | tuple):
        shown = [_outline(item) for item in data[:_SHOWN_ITEMS]]
        return "[" + ", ".join([*shown, *_rest(data)]) + "]"
    return type(data).__name__


def _rest(items: Any) -> list[str]:
    hidden = len(items) - _SHOWN_ITEMS
    return [f"and {hidden} more"] if hidden > 0 else []
