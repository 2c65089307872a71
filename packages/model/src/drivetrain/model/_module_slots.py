"""The places in a module where its parameters and buffers lie, found once and read quickly."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Buffers(NamedTuple):
    """Buffers, those of floating point apart from the others."""

    floating: list[Tensor]
    other: list[Tensor]


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
        self._params: dict[str, tuple[dict[str, Tensor | None], str]] = {}
        self._buffers: dict[str, tuple[dict[str, Tensor | None], str]] = {}
        seen: set[int] = set()
        for prefix, part in module.named_modules():
            for name, child in part._modules.items():
                self._children.append((part._modules, name, child))
            tables = ((part._parameters, self._params), (part._buffers, self._buffers))
            for tensors, slots in tables:
                for name, tensor in tensors.items():
                    if tensor is not None and id(tensor) not in seen:
                        seen.add(id(tensor))
                        slots[f"{prefix}.{name}" if prefix else name] = (tensors, name)

    def describes(self, module: nn.Module) -> bool:
        """Tell whether ``module`` is the one that was walked, with the same submodules."""
        if module is not self._module:
            return False
        return all(table.get(name) is child for table, name, child in self._children)

    def params(self) -> list[Tensor]:
        """Return the parameters, in the order of ``named_parameters``."""
        return [table[name] for table, name in self._params.values()]

    def buffers(self) -> Buffers:
        """Return the buffers, in the order of ``named_buffers``."""
        buffers = [table[name] for table, name in self._buffers.values()]
        floating = [tensor for tensor in buffers if tensor.is_floating_point()]
        return Buffers(floating, [tensor for tensor in buffers if not tensor.is_floating_point()])

    def difference(self, other: ModuleSlots) -> str | None:
        """Say in which name two modules differ first; ``None`` if in none."""
        for kind in ("_params", "_buffers"):
            ours, theirs = getattr(self, kind), getattr(other, kind)
            for name in [*ours, *theirs]:
                if name not in theirs:
                    return f"it has no {name!r}"
                if name not in ours:
                    return f"it has {name!r}, which the average lacks"
        return None
