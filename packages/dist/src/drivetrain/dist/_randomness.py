"""Seeds, and the position of every random generator of this process as plain data."""

from __future__ import annotations

import hashlib
import os
import random
from typing import Any

import numpy as np
import torch
import torch.distributed as torch_dist
from torch.distributed import ProcessGroup

from drivetrain.dist._device import get_device
from drivetrain.dist._group import get_rank, get_world_size
from drivetrain.dist._transfer import get_comm_device

_MAX_SEED = 2**31


def sync_random_seed(group: ProcessGroup | None = None) -> int:
    """One fresh random seed, the same on every rank of ``group``.

    Drawn from the operating system, not from a generator of this process, so that asking does not
    move the position of any generator.

    Args:
        group: All ranks by default.

    Returns:
        From 0 to ``2**31 - 1``.
    """
    seed = int.from_bytes(os.urandom(4), "little") % _MAX_SEED
    if get_world_size(group) <= 1:
        return seed
    shared = torch.tensor(seed, dtype=torch.int64, device=get_comm_device(group))
    source = 0 if group is None else torch_dist.get_global_rank(group, 0)
    torch_dist.broadcast(shared, src=source, group=group)
    return int(shared.item())


def set_random_seed(
    seed: int | None = None, deterministic: bool = False, diff_rank_seed: bool = False
) -> int:
    """Seed Python, NumPy and torch on all devices.

    Args:
        seed: A fresh one, equal on all ranks, by default.
        deterministic: Use deterministic algorithms only: slower, and the same on every run.
        diff_rank_seed: Add the rank, so that ranks draw different numbers.

    Returns:
        The seed before the rank is added.

    Raises:
        TypeError: If ``seed`` is neither a whole number nor ``None``.
    """
    if seed is None:
        seed = sync_random_seed()
    elif isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"the seed of a run is a whole number, or None to draw one, got {seed!r}")
    own_seed = seed + get_rank() if diff_rank_seed else seed
    _seed_all(own_seed)
    if deterministic:
        _be_deterministic()
    return seed


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _be_deterministic() -> None:
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # cuBLAS needs a fixed workspace to be deterministic, and reads this when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def random_state_dict() -> dict[str, Any]:
    """Where all random generators of this process stand.

    Returns:
        ``python``, ``numpy``, ``torch``, and a list of states for each kind of accelerator; plain
        types and tensors only, so that it loads with ``weights_only=True``.
    """
    version, internal, gauss_next = random.getstate()
    kind, keys, position, has_gauss, cached_gaussian = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": {
            "version": version,
            "internal": torch.tensor(internal, dtype=torch.int64),
            "gauss_next": gauss_next,
        },
        "numpy": {
            "kind": str(kind),
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached_gaussian": float(cached_gaussian),
        },
        "torch": torch.get_rng_state(),
    }
    device_type = get_device()
    if device_type != "cpu":
        state[device_type] = _device_states(device_type)
    return state


def load_random_state_dict(state: dict[str, Any]) -> None:
    """Put all random generators where ``random_state_dict`` saw them.

    States of accelerators that this process does not have are left out; an accelerator without a
    state keeps its own.

    Args:
        state: What ``random_state_dict`` returned; not changed.
    """
    python = state["python"]
    internal = tuple(python["internal"].tolist())
    random.setstate((python["version"], internal, python["gauss_next"]))
    numpy = state["numpy"]
    keys = numpy["keys"].cpu().numpy().astype(np.uint32)
    np.random.set_state(
        (numpy["kind"], keys, numpy["position"], numpy["has_gauss"], numpy["cached_gaussian"])
    )
    torch.set_rng_state(state["torch"].cpu())
    device_type = get_device()
    if device_type != "cpu" and device_type in state:
        _load_device_states(device_type, state[device_type])


def derived_random_state(state: dict[str, Any], rank: int) -> None:
    """Seed this process from the state of another rank, for a rank that did not exist then.

    The result depends on that state and on ``rank`` only, and so is the same on every resume.

    Args:
        state: What ``random_state_dict`` returned on the other rank.
        rank: Rank of this process.
    """
    digest = hashlib.sha256(state["torch"].cpu().numpy().tobytes() + rank.to_bytes(8, "little"))
    _seed_all(int.from_bytes(digest.digest()[:4], "little") % _MAX_SEED)


def _device_states(device_type: str) -> list[torch.Tensor]:
    module = getattr(torch, device_type)
    if device_type == "mps":  # one device, and get_rng_state takes no argument
        return [module.get_rng_state()]
    return [module.get_rng_state(index) for index in range(module.device_count())]


def _load_device_states(device_type: str, states: list[torch.Tensor]) -> None:
    module = getattr(torch, device_type)
    if device_type == "mps":
        module.set_rng_state(states[0].cpu())
        return
    for index, saved in enumerate(states[: module.device_count()]):
        module.set_rng_state(saved.cpu(), index)
