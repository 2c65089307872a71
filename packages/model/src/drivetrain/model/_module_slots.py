"""The places in a module where its parameters and buffers lie, found once and read quickly."""

from __future__ import annotations

from torch import Tensor, nn

Slots = dict[str, tuple[dict[str, Tensor], str]]


def devices_of(tensors: list[Tensor]) -> list[int]:
    """Return the index of each device, -1 for a CPU; asking for ``.device`` takes longer."""
    return [*map(Tensor.get_device, tensors)]


class ModuleSlots:
    """Remembers in which dicts of which submodules the tensors of a module are.

    Walking a module of 300 tensors takes longer than averaging them. A tensor may be replaced (by
    ``module.to``, by assignment): the present one is read. A submodule may be replaced too:
    :meth:`describes` finds that, by comparing each child with what it was.

    Args:
        module: The module. Tensors that occur twice are kept once.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._children: list[tuple[dict[str, nn.Module | None], str, nn.Module | None]] = []
        self._params: Slots = {}
        self._floats: Slots = {}
        self._others: Slots = {}
        seen: set[int] = set()
        for prefix, part in module.named_modules():
            for name, child in part._modules.items():
                self._children.append((part._modules, name, child))
            for table in (part._parameters, part._buffers):
                for name, tensor in table.items():
                    if tensor is None or id(tensor) in seen:
                        continue
                    seen.add(id(tensor))
                    slots = self._floats if tensor.is_floating_point() else self._others
                    if table is part._parameters:
                        slots = self._params
                    slots[f"{prefix}.{name}" if prefix else name] = (table, name)  # type: ignore[assignment]  # None was left out

    def describes(self, module: nn.Module) -> bool:
        """Tell whether ``module`` is the one that was walked, with the same submodules."""
        if module is not self._module:
            return False
        for table, name, child in self._children:  # noqa: SIM110  # all() takes twice as long
            if table.get(name) is not child:
                return False
        return True

    def tensors(self, average_buffers: bool) -> tuple[list[Tensor], list[Tensor]]:
        """Return the tensors to average, and those to copy: integers, and other buffers at will."""
        averaged = [table[name] for table, name in self._params.values()]
        copied = [table[name] for table, name in self._others.values()]
        floats = [table[name] for table, name in self._floats.values()]
        if average_buffers:
            return averaged + floats, copied
        return averaged, copied + floats

    def first_param(self) -> Tensor | None:
        """Return the parameter that is first now; ``None`` where there are none."""
        table, name = next(iter(self._params.values()), ({}, ""))
        return table.get(name)

    def difference(self, other: ModuleSlots) -> str | None:
        """Say in which name two modules differ first; ``None`` if in none."""
        for kind in ("_params", "_floats", "_others"):
            ours, theirs = getattr(self, kind), getattr(other, kind)
            for name in [*ours, *theirs]:
                if name not in theirs:
                    return f"it has no {name!r}"
                if name not in ours:
                    return f"it has {name!r}, which the average lacks"
                shapes = [table[key].shape for table, key in (ours[name], theirs[name])]
                if shapes[0] != shapes[1]:
                    return f"{name!r} has shape {tuple(shapes[1])} for {tuple(shapes[0])}"
        return None
