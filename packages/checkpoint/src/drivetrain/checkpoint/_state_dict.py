"""Weights out of a model and into a model."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch import nn

from drivetrain.checkpoint._errors import StateDictMismatchError
from drivetrain.checkpoint._load_report import LoadReport, ShapeMismatch
from drivetrain.logging import print_log
from drivetrain.registry import MODEL_WRAPPERS, Registry

_SIZE_MISMATCH = re.compile(r"^size mismatch for (\S+): ")


def get_state_dict(
    module: nn.Module,
    destination: MutableMapping[str, Any] | None = None,
    prefix: str = "",
    keep_vars: bool = False,
) -> MutableMapping[str, Any]:
    """Return the state of a module as if nothing in it were wrapped for parallel training.

    The ``module.`` that a wrapper puts into names is left out at every depth.

    Args:
        module: A model, wrapped or not, that may hold wrapped parts.
        destination: Where to put the state; a new ordered dict if None.
        prefix: Put before each name.
        keep_vars: Keep the parameters themselves, attached to the graph, instead of detached ones.
    """
    state = module.state_dict(keep_vars=keep_vars)
    inner = [f"{path}.module." if path else "module." for path in _wrapper_paths(module)]
    result = OrderedDict() if destination is None else destination
    for name, value in state.items():
        result[prefix + _without(inner, name)] = value
    metadata = getattr(state, "_metadata", None)
    if metadata is not None and isinstance(result, OrderedDict):
        renamed = getattr(result, "_metadata", OrderedDict())
        for name, value in metadata.items():
            renamed[(prefix + _without(inner, f"{name}.")).rstrip(".")] = value
        result._metadata = renamed  # type: ignore[attr-defined]  # torch sets it the same way
    return result


def weights_to_cpu(state_dict: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """Return the same state with its tensors in main memory; the layers' versions are kept."""
    result: OrderedDict[str, Any] = OrderedDict()
    for name, value in state_dict.items():
        result[name] = value.cpu() if isinstance(value, torch.Tensor) else value
    if hasattr(state_dict, "_metadata"):
        result._metadata = state_dict._metadata  # type: ignore[attr-defined]  # as torch does
    return result


def load_state_dict(
    module: nn.Module,
    state_dict: Mapping[str, Any],
    strict: bool = False,
    logger: logging.Logger | str | None = None,
) -> LoadReport:
    """Put weights into a module, and say which did not fit.

    Args:
        module: A model, wrapped or not; names are those of the model without wrappers.
        state_dict: Weights by name.
        strict: Raise if anything is missing, unexpected or of another shape. Otherwise what fits is
            loaded, the rest keeps its value, and the report goes to ``logger``.
        logger: Where the report goes: a logger, ``"current"``, or None to print it.

    Returns:
        What fitted and what did not.

    Raises:
        StateDictMismatchError: If ``strict`` and not everything fits. What fits was loaded.
    """
    loading = _Loading(state_dict)
    loading.visit(module, "", loading.state_dict)
    report = loading.report(module)
    if not report.fits:
        if strict:
            raise StateDictMismatchError(str(report))
        print_log(str(report), logger=logger, level=logging.WARNING)
    return report


class _Loading:
    """One walk over a model, handing each layer its weights as torch does."""

    def __init__(self, state_dict: Mapping[str, Any]) -> None:
        self.state_dict: OrderedDict[str, Any] = OrderedDict(state_dict)
        self.metadata: Mapping[str, Any] = getattr(state_dict, "_metadata", None) or {}
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.messages: list[str] = []

    def visit(self, module: nn.Module, prefix: str, weights: dict[str, Any]) -> None:
        module = _unwrapped(module)
        module._load_from_state_dict(
            weights,
            prefix,
            self.metadata.get(prefix[:-1], {}),
            True,  # so that unexpected names are collected, too
            self.missing,
            self.unexpected,
            self.messages,
        )
        for name, child in module._modules.items():
            if child is not None:
                # A layer looks through all that it gets, so it gets its own part only.
                part = f"{prefix}{name}."
                self.visit(child, part, {n: w for n, w in weights.items() if n.startswith(part)})
        keys = nn.modules.module._IncompatibleKeys(self.missing, self.unexpected)
        for hook in module._load_state_dict_post_hooks.values():
            hook(module, keys)

    def report(self, module: nn.Module) -> LoadReport:
        own = get_state_dict(module)
        mismatched, other = [], []
        for message in self.messages:
            found = _SIZE_MISMATCH.match(message)
            if found and found[1] in own and found[1] in self.state_dict:
                name = found[1]
                mismatched.append(
                    ShapeMismatch(name, tuple(self.state_dict[name].shape), tuple(own[name].shape))
                )
            else:
                other.append(message)
        # A counter that says how often statistics were updated; older files lack it, rightly.
        missing = [name for name in self.missing if "num_batches_tracked" not in name]
        absent = {*self.missing, *(mismatch.name for mismatch in mismatched)}
        # Torch's layers make one of their own where it is not in the file.
        absent |= {name for name in own if "num_batches_tracked" in name} - self.state_dict.keys()
        loaded = sum(name not in absent for name in own)
        return LoadReport(
            loaded, tuple(missing), tuple(self.unexpected), tuple(mismatched), tuple(other)
        )


def _is_wrapper(module: nn.Module) -> bool:
    if not isinstance(getattr(module, "module", None), nn.Module):
        return False
    known = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    return isinstance(module, known) or _is_registered(module, MODEL_WRAPPERS)


def _is_registered(module: nn.Module, registry: Registry[Any]) -> bool:
    classes = tuple(c for c in registry.module_dict.values() if isinstance(c, type))
    children = registry.children.values()
    return isinstance(module, classes) or any(_is_registered(module, child) for child in children)


def _unwrapped(module: nn.Module) -> nn.Module:
    while _is_wrapper(module):
        module = module.module  # type: ignore[assignment]  # _is_wrapper saw that it is a module
    return module


def _wrapper_paths(module: nn.Module) -> Iterator[str]:
    for path, part in module.named_modules():
        if _is_wrapper(part):
            yield path


def _without(inner: list[str], name: str) -> str:
    # From the innermost wrapper outwards: what is cut does not move the names further left.
    for path in sorted(inner, key=len, reverse=True):
        if name.startswith(path):
            name = path[: -len("module.")] + name[len(path) :]
    return name
