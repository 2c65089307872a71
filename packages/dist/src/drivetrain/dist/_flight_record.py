"""What torch's flight recorder knows of the last collectives of this rank."""

from __future__ import annotations

import json
import os
from typing import Any

import torch

_SHOWN = 3


def last_collectives() -> str:
    """The last collectives of this rank and how far each came; empty where nobody records.

    Torch records them when ``TORCH_FR_BUFFER_SIZE`` is set above 0, for NCCL and gloo alike.
    """
    if int(os.environ.get("TORCH_FR_BUFFER_SIZE", "0") or 0) <= 0:
        return ""
    # No public name yet; where torch has none, there is no record to show.
    c10d = getattr(torch._C, "_distributed_c10d", None)
    dump = getattr(c10d, "_dump_fr_trace_json", None)
    if dump is None:
        return ""
    entries: list[dict[str, Any]] = json.loads(dump()).get("entries") or []
    return "; ".join(map(_described, entries[-_SHOWN:]))


def _described(entry: dict[str, Any]) -> str:
    number = entry.get("collective_seq_id", "?")
    return f"#{number} {entry.get('profiling_name')} {entry.get('input_sizes')} {entry['state']}"
