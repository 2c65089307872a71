"""Which of the processes of a run this one is: asked of torch if it knows, else of the launcher."""

from __future__ import annotations

import os
import sys
from typing import Any


def _process_group() -> Any:
    """Return ``torch.distributed`` where a process group runs; never import it for that."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def process_rank() -> int:
    """Number of this process, from 0, over all machines."""
    group = _process_group()
    return int(os.environ.get("RANK", "0")) if group is None else group.get_rank()


def world_size() -> int:
    """How many processes the run has."""
    group = _process_group()
    return int(os.environ.get("WORLD_SIZE", "1")) if group is None else group.get_world_size()


def local_rank() -> int:
    """Number of this process on its machine: the index of its device."""
    return int(os.environ.get("LOCAL_RANK", "0"))
