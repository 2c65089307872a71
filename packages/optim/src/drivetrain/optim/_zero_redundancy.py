"""An optimizer whose state is divided among the ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.optim import ZeroRedundancyOptimizer as _TorchZeroRedundancyOptimizer

from drivetrain.dist import get_rank
from drivetrain.optim._errors import OptimArgumentError, nearest


class ZeroRedundancyOptimizer(_TorchZeroRedundancyOptimizer):
    """Divides the state of an optimizer among the ranks of data-parallel training (ZeRO, stage 1).

    Each rank updates its share of the parameters and sends them to the others, so the memory for
    the state falls with the number of ranks.

    Args:
        params: Parameters, or parameter groups.
        optimizer_type: Name of an optimizer of ``torch.optim``.
        **kwargs: Arguments of torch's ``ZeroRedundancyOptimizer``, and of the optimizer.

    Raises:
        OptimArgumentError: If torch has no such optimizer.

    Source: Rajbhandari et al., ZeRO (SC 2020), arXiv:1910.02054.
    """

    def __init__(self, params: Any, optimizer_type: str, **kwargs: Any) -> None:
        optimizer_class = getattr(torch.optim, optimizer_type, None)
        if not (
            isinstance(optimizer_class, type) and issubclass(optimizer_class, torch.optim.Optimizer)
        ):
            known = [name for name in vars(torch.optim) if name[0].isupper()]
            raise OptimArgumentError(
                f"ZeroRedundancyOptimizer: torch.optim has no optimizer {optimizer_type!r}."
                f"{nearest(optimizer_type, known)}"
            )
        super().__init__(list(params), optimizer_class, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state on rank 0, nothing on the others. All ranks must call it."""
        self.consolidate_state_dict()
        return super().state_dict() if get_rank() == 0 else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take this rank's share of a whole state."""
        super().load_state_dict(dict(state_dict))
