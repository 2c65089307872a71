"""``drivetrain checkpoint show``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from drivetrain.cli._checkpoint_facts import (
    check_one,
    columns,
    mapping,
    outline,
    position,
    size_text,
)

_MAX_WEIGHTS = 30
_MAX_TEXT = 76
#: Entries that have a part of their own in the text.
_SHOWN = ("meta", "state_dict", "ema_state_dict", "optimizer")


def show_text(path: str, *, as_json: bool, all_weights: bool) -> str:
    """What is in a checkpoint, as text or JSON; no value of a tensor is read.

    Raises:
        CheckpointError: If there is none, if it is broken, or holds more than plain data.
    """
    check = check_one(path)
    content = outline(path)
    facts = {
        "path": path,
        "size_bytes": check.size_bytes,
        "verified_by": check.method,
        **_facts(content),
    }
    if as_json:
        return json.dumps(facts, indent=2, default=str)
    return "\n".join(_lines(facts, all_weights))


def _facts(content: Mapping[str, Any]) -> dict[str, Any]:
    epoch, step, saved = position(content)
    meta = mapping(content.get("meta"))
    weights = mapping(content.get("state_dict"))
    return {
        "epoch": epoch,
        "step": step,
        "saved": saved,
        "meta": {str(key): _plain(value) for key, value in meta.items()},
        "weights": {
            name: {"shape": list(value.shape), "dtype": _dtype(value)}
            for name, value in weights.items()
            if isinstance(value, torch.Tensor)
        },
        "averaged": "ema_state_dict" in content,
        "optimizer": _optimizers(content.get("optimizer")),
        "entries": {str(key): _amount(value) for key, value in content.items()},
    }


def _optimizers(state: Any) -> dict[str, Any] | None:
    """Facts of an optimizer's state; of several by their names."""
    state = mapping(state)
    if "param_groups" not in state:
        several = {str(key): _optimizers(value) for key, value in state.items()}
        return {key: value for key, value in several.items() if value is not None} or None
    groups = [
        {str(k): _plain(v) for k, v in group.items() if k != "params"}
        for group in state["param_groups"]
    ]
    values = mapping(state.get("state"))
    kinds = sorted({str(name) for entry in values.values() for name in mapping(entry)})
    return {"groups": groups, "parameters": len(values), "kept": kinds, **_amount(values)}


def _amount(value: Any) -> dict[str, Any]:
    tensors = list(_tensors(value))
    facts: dict[str, Any] = {"kind": type(value).__name__}
    if tensors:
        facts["tensors"] = len(tensors)
        facts["values"] = sum(tensor.numel() for tensor in tensors)
        facts["bytes"] = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if isinstance(value, Mapping):
        facts["keys"] = [str(key) for key in value] if not tensors else len(value)
    elif isinstance(value, (list, tuple)):
        facts["length"] = len(value)
    elif not isinstance(value, torch.Tensor):
        facts["value"] = _plain(value)
    return facts


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _lines(facts: Mapping[str, Any], all_weights: bool) -> Iterator[str]:
    size = size_text(facts["size_bytes"])
    yield f"{facts['path']}  {size}, verified by {facts['verified_by']}"
    where = {"epoch": facts["epoch"], "step": facts["step"], "saved": facts["saved"]}
    meta = {k: v for k, v in facts["meta"].items() if k not in ("epoch", "iter", "time")}
    rows = [(f"  {key}", _short(value)) for key, value in {**where, **meta}.items()]
    yield from columns([row for row in rows if row[1] not in ("", "None")])
    yield from _weight_lines(facts, all_weights)
    if facts["optimizer"]:
        yield from _optimizer_lines(facts["optimizer"])
    others = {key: value for key, value in facts["entries"].items() if key not in _SHOWN}
    if others:
        yield "also in it"
        yield from columns([(f"  {key}", _short(_said(value))) for key, value in others.items()])


def _weight_lines(facts: Mapping[str, Any], all_weights: bool) -> Iterator[str]:
    weights = facts["weights"]
    amount = facts["entries"].get("state_dict", {})
    which = ", averaged; ema_state_dict holds those as trained" if facts["averaged"] else ""
    count, total = amount.get("values", 0), size_text(amount.get("bytes", 0))
    yield f"weights: {len(weights):,} tensors, {count:,} values, {total}{which}"
    shown = list(weights.items())[: None if all_weights else _MAX_WEIGHTS]
    if shown:
        yield from columns([(f"  {n}", str(tuple(w["shape"])), w["dtype"]) for n, w in shown])
    if len(shown) < len(weights):
        yield f"  ... and {len(weights) - len(shown):,} more; --all shows them"


def _optimizer_lines(facts: Mapping[str, Any], name: str = "optimizer") -> Iterator[str]:
    if "groups" not in facts:
        for key, one in facts.items():
            yield from _optimizer_lines(one, f"optimizer {key}")
        return
    kept = ", ".join(facts["kept"]) or "nothing yet"
    size = size_text(facts.get("bytes", 0))
    yield f"{name}: keeps {kept} of {facts['parameters']:,} parameters, {size}"
    for number, group in enumerate(facts["groups"]):
        options = (f"{key}={value}" for key, value in group.items() if value is not None)
        yield f"  group {number}: {_short(', '.join(options))}"


def _said(amount: Mapping[str, Any]) -> str:
    if "tensors" in amount:
        return f"{amount['tensors']:,} tensors, {size_text(amount['bytes'])}"
    if "keys" in amount:
        return ", ".join(amount["keys"]) or "empty"
    if "length" in amount:
        return f"{amount['kind']} of {amount['length']:,}"
    return str(amount.get("value", amount["kind"]))


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, torch.Tensor):
        return f"tensor {tuple(value.shape)}, {_dtype(value)}"
    return str(value)


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."
