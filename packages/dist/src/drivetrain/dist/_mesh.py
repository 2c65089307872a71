"""How ranks are arranged: copies of the model, shards of a copy, parts of a layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivetrain.dist._device import get_device
from drivetrain.dist._errors import WrapperError
from drivetrain.dist._module_rule import nearest

# torch.distributed.device_mesh takes as long to import as torch itself: only those who shard pay.
if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

_DIMENSIONS = ("replicate", "shard", "tensor")


@dataclass(frozen=True)
class Arrangement:
    """``replicate * shard * tensor`` ranks; neighbours hold parts of the same layers.

    Args:
        replicate: Groups of ranks that each hold a whole copy of the model.
        shard: Ranks over which a copy's parameters, gradients and optimizer state are cut.
        tensor: Ranks that compute one layer together, on one batch.
    """

    replicate: int
    shard: int
    tensor: int

    @classmethod
    def of(cls, sizes: Mapping[str, int] | None, world_size: int) -> Arrangement:
        """The arrangement of ``world_size`` ranks; what is not said of ``shard`` is the rest.

        Raises:
            WrapperError: If the sizes are not those of so many ranks.
        """
        sizes = dict(sizes or {})
        for name, size in sizes.items():
            if name not in _DIMENSIONS:
                raise WrapperError(
                    f"mesh: unknown dimension {name!r}.{nearest(name, _DIMENSIONS)}\n"
                    f"  Known:  {', '.join(_DIMENSIONS)}"
                )
            if not isinstance(size, int) or size < 1:
                raise WrapperError(f"mesh: {name} is a number of ranks, got {size!r}.")
        copies, parts = sizes.get("replicate", 1), sizes.get("tensor", 1)
        given = cls(copies, sizes.get("shard", max(1, world_size // (copies * parts))), parts)
        if given.replicate * given.shard * given.tensor != world_size:
            product = " * ".join(f"{name}={getattr(given, name)}" for name in _DIMENSIONS)
            raise WrapperError(
                f"mesh: {product} is {given.replicate * given.shard * given.tensor} ranks, but "
                f"this run has {world_size}.\n"
                "  Do:  start as many, or change the mesh; a shard that is left out is the rest."
            )
        return given

    def device_mesh(self) -> DeviceMesh:
        """The mesh of all three dimensions; called on all ranks."""
        from torch.distributed.device_mesh import init_device_mesh

        # The log of one module of torch; a filter that is there already is not added again.
        logging.getLogger("torch.distributed.tensor._redistribute").addFilter(_is_no_advice)
        shape = (self.replicate, self.shard, self.tensor)
        return init_device_mesh(get_device(), shape, mesh_dim_names=_DIMENSIONS)

    def sharding_mesh(self, mesh: DeviceMesh) -> DeviceMesh:
        """The part of the mesh over which parameters are cut, and copied where that is asked."""
        return mesh["shard"] if self.replicate == 1 else mesh["replicate", "shard"]


def _is_no_advice(record: logging.LogRecord) -> bool:
    """Whether a record of torch is other than its advice to flatten the mesh for speed.

    It is given where norms of gradients are added up and where layers are put together for
    saving, of dimensions of ours that nobody who reads it could flatten. That ranks might differ
    by it, as it says, does not hold here: one dimension is reduced after the other, and the ranks
    of a group bring equal numbers in equal order.
    """
    return not record.getMessage().startswith("While redistributing from")
