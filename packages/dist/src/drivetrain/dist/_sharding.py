"""Cutting a model into shards: which parts, in which precision, over which ranks (FSDP2)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from drivetrain.dist._device import get_device
from drivetrain.dist._errors import WrapperError
from drivetrain.dist._group import get_world_size

# torch.distributed.fsdp and its tensors take as long to import as torch itself: only those who
# shard pay for them.
if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, OffloadPolicy


@dataclass(frozen=True)
class ModuleRule:
    """Which modules of a model something is done to.

    Args:
        classes: Classes, or their names.
        names: Regular expressions that must match a module's whole name.
        min_params: Modules with at least so many parameters that no module inside took already.
    """

    classes: Sequence[str | type[nn.Module]] = field(default_factory=tuple)
    names: Sequence[str] = field(default_factory=tuple)
    min_params: int | None = None

    def select(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        """The chosen modules with their names, inner before outer, without ``model`` itself.

        Raises:
            WrapperError: If a class or pattern fits no module.
        """
        self._check(model)
        chosen: list[tuple[str, nn.Module]] = []
        taken: set[int] = set()
        for name, module in reversed(list(model.named_modules())):
            if name and self._takes(name, module, taken):
                chosen.append((name, module))
                taken.update(id(param) for param in module.parameters())
        return chosen

    def _takes(self, name: str, module: nn.Module, taken: set[int]) -> bool:
        if self._fits_class(module) or any(re.fullmatch(pattern, name) for pattern in self.names):
            return True
        if self.min_params is None:
            return False
        free = sum(param.numel() for param in module.parameters() if id(param) not in taken)
        return free >= self.min_params

    def _fits_class(self, module: nn.Module) -> bool:
        lineage = type(module).__mro__
        names = {kind.__name__ for kind in lineage}
        return any(kind in (names if isinstance(kind, str) else lineage) for kind in self.classes)

    def _check(self, model: nn.Module) -> None:
        modules = dict(model.named_modules())
        for kind in self.classes:
            rule = ModuleRule(classes=[kind])
            if not any(rule._fits_class(module) for module in modules.values()):
                present = sorted({type(module).__name__ for module in modules.values()})
                raise WrapperError(
                    f"no module of {type(model).__name__} is of class {kind!r}.\n"
                    f"  Classes:  {', '.join(present[:20])}"
                )
        for pattern in self.names:
            if not any(re.fullmatch(pattern, name) for name in modules):
                raise WrapperError(
                    f"no module of {type(model).__name__} has a name like {pattern!r}.\n"
                    f"  Names:  {', '.join(list(modules)[1:21])}"
                )


def shard_model(
    model: nn.Module,
    *,
    wrap: Mapping[str, Any] | None = None,
    mixed_precision: Mapping[str, Any] | None = None,
    cpu_offload: bool | Mapping[str, Any] = False,
    reshard_after_forward: bool | int | None = None,
    mesh: Mapping[str, int] | None = None,
) -> nn.Module:
    """Cut the parameters of ``model`` over all ranks, in place (FSDP2, ``fully_shard``).

    Parts that ``wrap`` chooses gather and free their parameters on their own; the rest of the
    model is one more part. Parameters become ``DTensor``; names do not change. Gradients can be
    kept from being exchanged with ``model.no_sync()``, as with DDP.

    Args:
        model: On any device, also ``meta``.
        wrap: Arguments of ``ModuleRule``.
        mixed_precision: ``param_dtype``, ``reduce_dtype``, ``output_dtype`` (names or types) and
            ``cast_forward_inputs``; the parameters that the optimizer sees keep their type.
        cpu_offload: Whether shards wait on the CPU; as a mapping, arguments of
            ``CPUOffloadPolicy``.
        reshard_after_forward: As in ``fully_shard``.
        mesh: ``shard``: over how many ranks parameters are cut; ``replicate``: how many such
            groups hold copies. All ranks in one group by default.

    Returns:
        ``model``.
    """
    from torch.distributed.fsdp import fully_shard

    options: dict[str, Any] = {"mesh": _mesh(mesh), "offload_policy": _offload(cpu_offload)}
    if mixed_precision:
        options["mp_policy"] = _precision(mixed_precision)
    if reshard_after_forward is not None:
        options["reshard_after_forward"] = reshard_after_forward
    for _, part in ModuleRule(**(wrap or {})).select(model):
        fully_shard(part, **options)
    fully_shard(model, **options)
    _add_no_sync(model)
    return model


def checkpoint_activations(model: nn.Module, rule: Mapping[str, Any]) -> None:
    """Recompute, in the backward pass, what the chosen modules computed in the forward pass.

    Saves the memory of their intermediate results for the time of one more forward pass. Names of
    parameters do not change.

    Args:
        model: Changed in place.
        rule: Arguments of ``ModuleRule``.

    Raises:
        WrapperError: If the rule chooses nothing.
    """
    chosen = ModuleRule(**rule).select(model)
    if not chosen:
        raise WrapperError(f"activation_checkpointing: {dict(rule)} chooses no module.")
    for _, part in chosen:
        part.forward = _recomputed(part.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run


def _add_no_sync(model: Any) -> None:
    """Give a sharded model the ``no_sync`` of DDP: decided in forward, for the backward after it.

    FSDP2's own switch is read in the backward pass, which comes after the context has ended.
    """
    state = {"exchange": True}

    @contextmanager
    def no_sync() -> Iterator[None]:
        state["exchange"] = False
        try:
            yield
        finally:
            state["exchange"] = True

    def decide(module: Any, args: Any) -> None:
        if torch.is_grad_enabled():
            module.set_requires_gradient_sync(state["exchange"])

    model.no_sync = no_sync
    model.register_forward_pre_hook(decide, prepend=True)


def _mesh(sizes: Mapping[str, int] | None) -> DeviceMesh:
    sizes = dict(sizes or {"shard": get_world_size()})
    unknown = set(sizes) - {"replicate", "shard"}
    if unknown:
        raise WrapperError(
            f"mesh: unknown dimension {', '.join(sorted(unknown))}; known are replicate and shard."
        )
    shape = (sizes.get("replicate", 1), sizes.get("shard", 1))
    if shape[0] * shape[1] != get_world_size():
        raise WrapperError(
            f"mesh: replicate={shape[0]} times shard={shape[1]} is not the number of ranks, "
            f"{get_world_size()}."
        )
    from torch.distributed.device_mesh import init_device_mesh

    if shape[0] == 1:
        return init_device_mesh(get_device(), shape[1:], mesh_dim_names=("shard",))
    return init_device_mesh(get_device(), shape, mesh_dim_names=("replicate", "shard"))


def _offload(setting: bool | Mapping[str, Any]) -> OffloadPolicy:
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy

    if setting is False:
        return OffloadPolicy()
    options = {} if setting is True else dict(setting)
    # Pinned memory needs an accelerator to be pinned for.
    options.setdefault("pin_memory", get_device() != "cpu")
    return CPUOffloadPolicy(**options)


def _precision(settings: Mapping[str, Any]) -> MixedPrecisionPolicy:
    from torch.distributed.fsdp import MixedPrecisionPolicy

    options: dict[str, Any] = {
        key: _dtype(value) if key.endswith("_dtype") else value for key, value in settings.items()
    }
    return MixedPrecisionPolicy(**options)


def _dtype(value: Any) -> torch.dtype | None:
    if value is None or isinstance(value, torch.dtype):
        return value
    found = getattr(torch, str(value).removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise WrapperError(f"mixed_precision: {value!r} is not a type of torch.")
    return found
