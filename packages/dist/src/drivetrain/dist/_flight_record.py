"""What torch's flight recorder knows of the last collectives of this rank."""

from __future__ import annotations

import json
from typing import Any

import torch

_SHOWN = 3
# Of gloo, and of NCCL where torch is built with it. No public names yet; where torch has none,
# there is no record to show.
_DUMPS = ("_dump_fr_trace_json", "_dump_nccl_trace_json")


def last_collectives() -> str:
    """The last collectives of this rank and how far each came; empty where nobody records.

    Torch keeps the latest 2000, or as many as ``TORCH_FR_BUFFER_SIZE`` says.
    """
    c10d = getattr(torch._C, "_distributed_c10d", None)
    dumps = [getattr(c10d, name) for name in _DUMPS if hasattr(c10d, name)]
    entries = [entry for dump in dumps for entry in json.loads(dump()).get("entries") or []]
    entries.sort(key=lambda entry: entry.get("time_created_ns", 0))
    return "; ".join(map(_described, entries[-_SHOWN:]))


def _described(entry: dict[str, Any]) -> str:
    # Gloo leaves the state as it was at the start, and only says of what is over that it is.
    state = "finished" if entry.get("retired") else entry.get("state", "?")
    number = entry.get("collective_seq_id", "?")
    return f"#{number} {entry.get('profiling_name')} {entry.get('input_sizes')} {state}"
