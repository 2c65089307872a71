"""Layers cut over ranks that work on one batch: plans by name, as a config has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from drivetrain.dist._errors import WrapperError
from drivetrain.dist._module_rule import fits, nearest, no_such_module

# torch.distributed.tensor takes as long to import as torch itself: only those who cut layers pay.
if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor.parallel import ParallelStyle

_CLASSES = {
    "colwise": "ColwiseParallel",
    "rowwise": "RowwiseParallel",
    "sequence": "SequenceParallel",
    "prepare_input": "PrepareModuleInput",
    "prepare_output": "PrepareModuleOutput",
}


def parallelize(model: nn.Module, mesh: DeviceMesh, plan: Mapping[str, Any]) -> None:
    """Cut the modules that ``plan`` names over the ranks of ``mesh``, in place.

    Args:
        model: On any device, also ``meta``.
        mesh: One dimension: the ranks that work on one batch.
        plan: Patterns of module names, and how these are cut: ``'colwise'`` (outputs of a linear
            layer, or an embedding's features), ``'rowwise'`` (its inputs, or the vocabulary),
            ``'sequence'``, ``'prepare_input'``, ``'prepare_output'``; a mapping with one of these
            under ``type`` and the arguments of torch's class, with layouts as ``'replicate'`` or
            the number of the dimension that is cut; or a ``ParallelStyle``.

    Raises:
        WrapperError: If a pattern matches nothing, a style is unknown, or a layer cannot be cut.

    Source: Shoeybi et al., Megatron-LM (2019), arXiv:1909.08053, section 3.
    """
    from torch.distributed.tensor.parallel import parallelize_module

    shared = _shared(model)
    for name, (pattern, setting) in _assigned(model, plan).items():
        module = model.get_submodule(name)
        _check_layer(f"tensor_parallel[{pattern!r}]", name, module, setting, mesh)
        parallelize_module(module, mesh, _style(setting))
    _tie_again(shared)


def _assigned(model: nn.Module, plan: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """By module name: the pattern that chose it, and how it is cut."""
    chosen: dict[str, tuple[str, Any]] = {}
    for pattern, setting in plan.items():
        names = [name for name, _ in model.named_modules() if fits(pattern, name)]
        if not names:
            raise WrapperError(f"tensor_parallel: {no_such_module(pattern, model)}")
        for name in names:
            if name in chosen:
                raise WrapperError(
                    f"tensor_parallel: {chosen[name][0]!r} and {pattern!r} both match {name!r}."
                )
            chosen[name] = (pattern, setting)
    return chosen


def _check_layer(where: str, name: str, module: nn.Module, setting: Any, mesh: DeviceMesh) -> None:
    kind = setting.get("type") if isinstance(setting, Mapping) else setting
    if kind not in ("colwise", "rowwise"):
        return
    if not isinstance(module, nn.Linear | nn.Embedding):
        inside = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Embedding)]
        hint = f"\n  Inside it:  {', '.join(f'{name}.{n}' for n in inside[:5])}" if inside else ""
        raise WrapperError(
            f"{where}: {kind!r} cuts nn.Linear and nn.Embedding, but {name!r} is a "
            f"{type(module).__name__}.{hint}"
        )
    is_last = (kind == "colwise") == isinstance(module, nn.Embedding)
    length = module.weight.shape[1 if is_last else 0]
    if length % mesh.size():
        raise WrapperError(
            f"{where}: {name!r} has {length} {'columns' if is_last else 'rows'} to cut, which do "
            f"not divide over tensor={mesh.size()} ranks."
        )


def _shared(model: nn.Module) -> list[list[tuple[str, nn.Module, str]]]:
    """Parameters that occur several times: their names, owners, and names there."""
    places: dict[int, list[tuple[str, nn.Module, str]]] = {}
    for prefix, module in model.named_modules():
        for name, param in module._parameters.items():
            if param is not None:
                full = f"{prefix}.{name}" if prefix else name
                places.setdefault(id(param), []).append((full, module, name))
    return [found for found in places.values() if len(found) > 1]


def _tie_again(shared: list[list[tuple[str, nn.Module, str]]]) -> None:
    """Make one parameter of those that were one; a cut replaces them one by one."""
    for places in shared:
        params: list[Any] = [module._parameters[name] for _, module, name in places]
        if len({getattr(param, "placements", None) for param in params}) > 1:
            names = " and ".join(repr(name) for name, _, _ in places)
            raise WrapperError(
                f"tensor_parallel: {names} are one parameter, but the plan cuts them differently."
            )
        for _, module, name in places:
            module._parameters[name] = params[0]


def _style(setting: Any) -> ParallelStyle:
    from torch.distributed.tensor import parallel

    if isinstance(setting, parallel.ParallelStyle):
        return setting
    options = {"type": setting} if isinstance(setting, str) else dict(setting)
    kind = options.pop("type", None)
    if kind not in _CLASSES:
        raise WrapperError(
            f"tensor_parallel: no style {kind!r}.{nearest(str(kind), _CLASSES)}\n"
            f"  Known:  {', '.join(_CLASSES)}"
        )
    arguments = {
        key: _layout(value) if "layout" in key else value for key, value in options.items()
    }
    try:
        return getattr(parallel, _CLASSES[kind])(**arguments)
    except TypeError as err:
        raise WrapperError(f"tensor_parallel: {setting!r} cannot be: {err}") from err


def _layout(value: Any) -> Any:
    """A layout from ``'replicate'`` or the number of a dimension; tuples of layouts, too."""
    from torch.distributed.tensor import Replicate, Shard

    if isinstance(value, list | tuple):
        return tuple(_layout(item) for item in value)
    if value == "replicate":
        return Replicate()
    return Shard(value) if isinstance(value, int) else value
