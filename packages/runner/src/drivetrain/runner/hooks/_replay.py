"""Files from which a training step can be run again, and running it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.checkpoint import NotPlainDataError, as_plain_data, read_checkpoint_file
from drivetrain.dist import load_random_state_dict, random_state_dict
from drivetrain.fileio import atomic_write, mkdir_or_exist
from drivetrain.registry import MODELS
from drivetrain.runner._errors import ReplayError
from drivetrain.runner.hooks._non_finite import NonFiniteSource, find_source
from drivetrain.structures import BaseDataElement

_KIND = "drivetrain.replay"
_ELEMENT = "__data_element__"


def write_replay(path: Path, model: nn.Module, data_batch: Any, facts: Mapping[str, Any]) -> str:
    """Write what a step needs to be run again; plain data, which loads without any allow-list.

    Args:
        path: Where to.
        model: The model, not wrapped, as it was before the step.
        data_batch: What the loader gave.
        facts: What else is known of the step; ``gradients`` and ``precision`` decide on the replay.

    Returns:
        The path.
    """
    state: dict[str, Any] = {"kind": _KIND, "version": 1, "left_out": {}, **facts}
    state["random_state"] = random_state_dict()
    state["eval_modules"] = [name for name, m in model.named_modules() if not m.training]
    parts = {"batch": encode(data_batch), "model": model.state_dict()}
    for name, value in parts.items():
        try:
            state[name] = as_plain_data(value)
        except NotPlainDataError as err:
            state[name], state["left_out"][name] = None, str(err)
    mkdir_or_exist(str(path.parent))
    with atomic_write(str(path)) as file:
        torch.save(as_plain_data(state), file)
    return str(path)


def replay_step(
    file: str | Path,
    model: nn.Module | Mapping[str, Any],
    *,
    device: str | torch.device | None = None,
) -> NonFiniteSource:
    """Run the step of a file of ``NaNWatchHook`` again, and look for what is not finite.

    Same weights, same batch, same random numbers, same precision, in this process alone.

    Args:
        file: What the hook has written.
        model: The model, or the config of one (the whole config of the run will do). Its weights
            are replaced by those of the file.
        device: Where to run; by default where the model's parameters are.

    Returns:
        The first module whose output is not finite, and what else was found; empty if this time
        everything is finite. With a debugger, this is the call to step into.

    Raises:
        ReplayError: If the file is no such file, or lacks the batch or the weights.
    """
    state = read_checkpoint_file(str(file), map_location="cpu")
    if not isinstance(state, dict) or state.get("kind") != _KIND:
        raise ReplayError(f"{file} is no file of NaNWatchHook")
    for name, reason in state["left_out"].items():
        raise ReplayError(f"{file} does not hold the {name}: {reason}")
    model = _built(model)
    if device is not None:
        model = model.to(device)
    model.load_state_dict(state["model"])
    model.train()
    modules = dict(model.named_modules())
    for name in state["eval_modules"]:
        modules[name].training = False
    before = random_state_dict()
    try:
        load_random_state_dict(state["random_state"])
        contexts = _Precision(state["precision"], _device_of(model))
        return find_source(
            model, decode(state["batch"]), contexts, gradients=bool(state["gradients"])
        )
    finally:
        load_random_state_dict(before)


class _Precision:
    """The precision of a training, without its optimizer.

    Args:
        dtype: Name of the type of autocast, or None for none.
        device: Where the model is.
    """

    def __init__(self, dtype: str | None, device: torch.device) -> None:
        self._dtype = None if dtype is None else getattr(torch, dtype)
        self._device = device

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Autocast, or nothing."""
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)

    def __getitem__(self, name: str) -> _Precision:
        return self


def precision_of(wrapper: Any, device: torch.device) -> str | None:
    """Name of the type that an optimizer wrapper casts to, or None where it does not cast."""
    with wrapper.optim_context(nn.Module()):
        if not torch.is_autocast_enabled(device.type):
            return None
        return str(torch.get_autocast_dtype(device.type)).removeprefix("torch.")


def _built(model: nn.Module | Mapping[str, Any]) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    node = model["model"] if "model" in model and "type" not in model else model
    return MODELS.build(dict(node))


def _device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def encode(value: Any) -> Any:
    """A batch with its data elements as dicts."""
    if isinstance(value, BaseDataElement):
        return {
            _ELEMENT: f"{type(value).__module__}:{type(value).__qualname__}",
            "metainfo": encode(dict(value.metainfo_items())),
            "fields": encode(dict(value.items())),
        }
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [encode(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def decode(value: Any) -> Any:
    """The batch again."""
    if isinstance(value, dict) and _ELEMENT in value:
        element = _element_class(value[_ELEMENT])(metainfo=decode(value["metainfo"]))
        for name, field in decode(value["fields"]).items():
            element.set_field(field, name)
        return element
    if isinstance(value, dict):
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [decode(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def _element_class(place: str) -> type[BaseDataElement]:
    """The class that a file names; it is looked up among what is imported, never imported."""
    module, _, name = place.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, BaseDataElement)):
        raise ReplayError(f"the batch holds a {place}, which is not imported: import it first")
    return found
