"""Cutting a model into shards: which parts, in which precision, over which ranks (FSDP2)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from drivetrain.dist._device import get_device
from drivetrain.dist._errors import WrapperError
from drivetrain.dist._group import get_world_size
from drivetrain.dist._memoryless import give_memory, named_tensors, without_memory
from drivetrain.dist._mesh import Arrangement
from drivetrain.dist._module_rule import ModuleRule, nearest
from drivetrain.dist._tensor_parallel import parallelize

# torch.distributed.fsdp and its tensors take as long to import as torch itself: only those who
# shard pay for them.
if TYPE_CHECKING:
    from torch.distributed.fsdp import MixedPrecisionPolicy, OffloadPolicy


def shard_model(
    model: nn.Module,
    *,
    wrap: Mapping[str, Any] | None = None,
    mixed_precision: Mapping[str, Any] | None = None,
    cpu_offload: bool | Mapping[str, Any] = False,
    reshard_after_forward: bool | int | None = None,
    mesh: Mapping[str, int] | None = None,
    tensor_parallel: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Cut the parameters of ``model`` over all ranks, in place (FSDP2, ``fully_shard``).

    Parts that ``wrap`` chooses gather and free their parameters on their own; the rest of the
    model is one more part. Parameters become ``DTensor``; names do not change. Gradients can be
    kept from being exchanged with ``model.no_sync()``, as with DDP, and ``model.sharded_copy()``
    makes another model that is cut alike.

    Args:
        model: On any device, also ``meta``.
        wrap: Arguments of ``ModuleRule``.
        mixed_precision: ``param_dtype``, ``reduce_dtype``, ``output_dtype`` (names or types) and
            ``cast_forward_inputs``; the parameters that the optimizer sees keep their type.
        cpu_offload: Whether shards wait on the CPU; as a mapping, arguments of
            ``CPUOffloadPolicy``.
        reshard_after_forward: As in ``fully_shard``.
        mesh: ``shard``: over how many ranks parameters are cut; ``replicate``: how many such
            groups hold copies; ``tensor``: how many ranks compute a layer together. By default
            ``shard`` is what the others leave.
        tensor_parallel: With ``mesh['tensor']``, which layers are cut and how; see
            ``parallelize``.

    Returns:
        ``model``.

    Raises:
        WrapperError: If the mesh and the plan do not fit each other, a setting of
            ``mixed_precision`` is unknown, or a pattern matches nothing.
    """
    arrangement = Arrangement.of(mesh, get_world_size())
    _check_plan(mesh, tensor_parallel)
    policies: dict[str, Any] = {"offload_policy": _offload(cpu_offload)}
    if mixed_precision:
        policies["mp_policy"] = _precision(mixed_precision)
    if reshard_after_forward is not None:
        policies["reshard_after_forward"] = reshard_after_forward
    device_mesh = arrangement.device_mesh()

    def cut(whole: nn.Module) -> nn.Module:
        from torch.distributed.fsdp import fully_shard

        if tensor_parallel:
            parallelize(whole, device_mesh["tensor"], tensor_parallel)
        options: dict[str, Any] = {"mesh": arrangement.sharding_mesh(device_mesh), **policies}
        for _, part in ModuleRule(**(wrap or {})).select(whole):
            fully_shard(part, **options)
        fully_shard(whole, **options)
        _add_no_sync(whole)
        _keep_sharded_outside_of_training(whole)
        return whole

    _add_sharded_copy(model, cut, offloaded=cpu_offload is not False)
    return cut(model)


def materialize(model: nn.Module, offloaded: bool) -> None:
    """Give a sharded model on ``meta`` memory of unknown content, where it belongs."""
    give_memory(model, "cpu" if offloaded else get_device(), get_device())


def _add_sharded_copy(model: Any, cut: Callable[[nn.Module], nn.Module], offloaded: bool) -> None:
    """Give ``model`` a method that makes a copy, which a cut model cannot make of itself."""
    try:
        structure: nn.Module | Exception = without_memory(model)
    except Exception as err:  # a model of what cannot be copied trains; it has no averages
        structure = err

    @torch.no_grad()
    def sharded_copy() -> nn.Module:
        if isinstance(structure, Exception):
            raise WrapperError(f"{type(model).__name__} cannot be copied.") from structure
        # A copy of the structure, not itself: the method can be called again.
        twin = cut(without_memory(structure))
        materialize(twin, offloaded)
        for module in _parts(model):
            module.reshard()
        for (_, target), (_, source) in zip(named_tensors(twin), named_tensors(model), strict=True):
            target.copy_(source)
        return twin.train(model.training)

    model.sharded_copy = sharded_copy


def _check_plan(mesh: Mapping[str, int] | None, plan: Mapping[str, Any] | None) -> None:
    named = "tensor" in (mesh or {})
    if plan and not named:
        raise WrapperError(
            "tensor_parallel: the mesh does not say over how many ranks.\n"
            "  Do:  add it, e.g. mesh=dict(tensor=2)."
        )
    if not plan and named and (mesh or {})["tensor"] > 1:
        raise WrapperError(
            "mesh: tensor needs a plan of the layers that are cut.\n"
            "  Do:  e.g. tensor_parallel={r'.*\\.fc1': 'colwise', r'.*\\.fc2': 'rowwise'}."
        )


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
        part.forward = _recomputed(part)


def _recomputed(part: nn.Module) -> Callable[..., Any]:
    """``part.forward`` without memory; bound, so that a copy of the module gets its own."""
    original = part.__dict__.get("forward", type(part).forward)
    is_bound = "forward" in part.__dict__

    @functools.wraps(original)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        run = original if is_bound else MethodType(original, self)
        if not torch.is_grad_enabled():
            return run(*args, **kwargs)
        return checkpoint(run, *args, use_reentrant=False, **kwargs)

    return MethodType(forward, part)


def _parts(model: nn.Module) -> list[Any]:
    """The modules of ``model`` that gather and free their parameters on their own."""
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _add_no_sync(model: Any) -> None:
    """Give a sharded model the ``no_sync`` of DDP: decided in forward, for the backward after it.

    FSDP2's own switch is read in the backward pass, which comes after the context has ended.
    """
    state = {"switched": False}

    @contextmanager
    def no_sync() -> Iterator[None]:
        model.set_requires_gradient_sync(False)
        state["switched"] = False
        try:
            yield
        finally:
            state["switched"] = True

    def switch_on_again(module: Any, args: Any) -> None:
        if state["switched"] and torch.is_grad_enabled():
            state["switched"] = False
            module.set_requires_gradient_sync(True)

    model.no_sync = no_sync
    model.register_forward_pre_hook(switch_on_again, prepend=True)


def _keep_sharded_outside_of_training(model: nn.Module) -> None:
    """Free gathered parameters after a forward pass that no backward pass follows.

    Else ``parameters()`` would give whole tensors after a validation, not those of the optimizer.
    """
    parts = _parts(model)

    def free(module: nn.Module, args: Any, output: Any) -> None:
        if not torch.is_grad_enabled():
            for part in parts:
                part.reshard()

    model.register_forward_hook(free)


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

    known = [field.name for field in dataclasses.fields(MixedPrecisionPolicy)]
    for key in settings:
        if key not in known:
            raise WrapperError(
                f"mixed_precision: unknown key {key!r}.{nearest(key, known)}\n"
                f"  Known:  {', '.join(known)}"
            )
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
