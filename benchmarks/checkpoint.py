"""Saving 200 million parameters with the state of AdamW: how long training waits, what it takes.

Times are wall-clock times, the best of several rounds: a save waits for memory and disk, not for
the processor. Memory is the highest resident set of a forked process that does nothing else, over
what it had before, in copies of the state.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from drivetrain.checkpoint import (
    AsyncCheckpointWriter,
    export_safetensors,
    save_checkpoint,
    verify_checkpoint,
)

PARAMETERS = int(os.environ.get("DRIVETRAIN_BENCH_PARAMETERS", "200_000_000"))
LAYERS = 50
ROUNDS = 3


def adamw_state() -> dict[str, Any]:
    """Weights and moments, as a checkpoint of a training has them."""
    width = PARAMETERS // LAYERS
    weights = {f"layers.{i}.weight": torch.randn(width) for i in range(LAYERS)}
    moments = {
        i: {"step": torch.tensor(1.0), "exp_avg": w * 0.1, "exp_avg_sq": w * w}
        for i, w in enumerate(weights.values())
    }
    return {"state_dict": weights, "optimizer": {"state": moments, "param_groups": []}}


def tensors_of(value: Any) -> list[torch.Tensor]:
    """All tensors of a state."""
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [tensor for item in items for tensor in tensors_of(item)]


def seconds(action: Callable[[], Any]) -> float:
    """How long a call takes."""
    started_s = time.perf_counter()
    action()
    return time.perf_counter() - started_s


def stall(state: dict[str, Any], folder: str) -> dict[str, float]:
    """How long training waits for a save, beside one copy of the state's memory."""
    tensors = tensors_of(state)
    writer = AsyncCheckpointWriter(folder)
    copies, firsts, saves = [], [], []
    for _ in range(ROUNDS):
        copies.append(seconds(lambda: [tensor.clone() for tensor in tensors]))
        firsts.append(seconds(lambda: writer.save("a.pth", state)))
        writer.wait()
        saves.append(seconds(lambda: writer.save("a.pth", state)))
        writer.release_memory()
    copy_s = min(copies)
    return {"copy": copy_s, "first": min(firsts) / copy_s, "later": min(saves) / copy_s}


def whole_save(state: dict[str, Any], folder: str) -> dict[str, float]:
    """How long a save takes in all, and what torch takes for the same bytes on the disk."""
    ours, theirs, check = [], [], []
    path = f"{folder}/a.pth"
    for _ in range(ROUNDS):
        theirs.append(seconds(lambda: torch_save(state, path)))
        os.remove(path)
        ours.append(seconds(lambda: save_checkpoint(state, path)))
        check.append(seconds(lambda: verify_checkpoint(path)))
        os.remove(path)
    return {"ours": min(ours), "torch": min(theirs), "verify": min(check)}


def torch_save(state: dict[str, Any], path: str) -> None:
    """What ``torch.save`` needs until the bytes are on the disk: no checksum, no rename."""
    torch.save(state, path)
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def background_save(state: dict[str, Any], folder: str) -> None:
    """A save in the background, to its end."""
    with AsyncCheckpointWriter(folder) as writer:
        writer.save("a.pth", state)


def torch_background_save(state: dict[str, Any], folder: str) -> None:
    """The same with ``torch.distributed.checkpoint``."""
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    flat = {str(number): tensor for number, tensor in enumerate(tensors_of(state))}
    dcp.async_save(flat, checkpoint_id=f"{folder}/dcp").result()


def peak_copies(action: Callable[[], Any], size_bytes: int) -> float:
    """Memory that an action adds at its peak, in copies of ``size_bytes``."""
    sender, receiver = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            before = resident("VmRSS")
            action()
            os.write(receiver, str(resident("VmHWM") - before).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(receiver)
    _, status = os.waitpid(child, 0)
    with os.fdopen(sender) as answer:
        text = answer.read()
    if status != 0:
        raise RuntimeError("the process that was measured failed")
    return int(text) / size_bytes


def resident(name: str) -> int:
    """Bytes of memory of this process, as the system counts them."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this system does not tell {name}")


def memory(state: dict[str, Any], folder: str) -> list[dict[str, Any]]:
    """Rows on peak memory; only Linux counts it in this way."""
    if not sys.platform.startswith("linux"):
        return []
    weights = state["state_dict"]
    size = sum(tensor.nbytes for tensor in tensors_of(state))
    share = sum(tensor.nbytes for tensor in weights.values())
    saves: dict[str, tuple[Callable[[], Any], int, float | None]] = {
        "a save": (lambda: save_checkpoint(state, f"{folder}/a.pth"), size, 1.0),
        "a save in the background": (lambda: background_save(state, folder), size, 1.05),
        "export_safetensors, of the weights": (
            lambda: export_safetensors(weights, f"{folder}/a.safetensors"),
            share,
            1.05,
        ),
        "torch.save": (lambda: torch_save(state, f"{folder}/t.pth"), size, None),
        "torch's async_save": (lambda: torch_background_save(state, folder), size, None),
    }
    rows = []
    for name, (action, measure, limit) in saves.items():
        copies = peak_copies(action, measure)
        row = {"name": f"memory of {name}", "measured": copies, "unit": "copies", "limit": limit}
        rows.append({**row, "ok": limit is None or copies <= limit})
        clear(folder)
    return rows


def clear(folder: str) -> None:
    """Remove what was written."""
    for path in Path(folder).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def run() -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    state = adamw_state()
    with tempfile.TemporaryDirectory() as folder:
        rows = memory(state, folder)
        waiting = stall(state, folder)
        clear(folder)
        whole = whole_save(state, folder)
    size_gb = sum(tensor.nbytes for tensor in tensors_of(state)) / 1e9
    slower = whole["ours"] / whole["torch"]
    figures: list[tuple[str, float, str, float | None]] = [
        ("stall of a background save", waiting["later"], "x one copy", 1.2),
        ("stall of the first one", waiting["first"], "x one copy", 1.2),
        (f"one copy of {size_gb:.1f} GB", waiting["copy"], "s", None),
        ("a whole save, checksum and checks included", slower, "x torch.save", None),
        ("the same", size_gb / whole["ours"], "GB/s", None),
        ("torch.save and fsync", size_gb / whole["torch"], "GB/s", None),
        ("verify_checkpoint", size_gb / whole["verify"], "GB/s", None),
    ]
    return rows + [
        {"name": name, "measured": value, "unit": unit, "limit": limit}
        | {"ok": limit is None or value <= limit}
        for name, value, unit, limit in figures
    ]


if __name__ == "__main__":
    for line in run():
        print(f"{line['name']:50} {line['measured']:8.2f} {line['unit']} (limit {line['limit']})")
