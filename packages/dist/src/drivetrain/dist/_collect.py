"""Bringing the results of an evaluation from all ranks to rank 0, in the order of the dataset."""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import Tensor

from drivetrain.dist._data_share import ranks_per_batch
from drivetrain.dist._group import barrier, get_dist_info
from drivetrain.dist._objects import broadcast_object, run_on_all
from drivetrain.dist._transfer import get_comm_device

# Rank 0 holds the results and one piece; a result that is larger travels alone.
_PIECE_BYTES = 16 * 1024 * 1024
_FIRST_ITEMS_IN_PIECE = 1  # their size is not known yet; four times as many in each next piece


def collect_results(
    results: list[Any], size: int, device: str = "cpu", tmpdir: str | None = None
) -> list[Any] | None:
    """Bring the results of all ranks to rank 0, in the order in which a sampler dealt them out.

    A sampler deals samples like cards: rank ``r`` of ``W`` gets samples ``r, r + W, r + 2W, ...``.
    The results are put together in the same way, and those of samples that were repeated to make
    the ranks even are cut off.

    Args:
        results: Results of this rank, in its own order; anything that pickle takes.
        size: How many there are in all, usually the length of the dataset.
        device: ``'cpu'`` or ``'gpu'``; where results travel. Both go through the process group
            unless ``tmpdir`` is given.
        tmpdir: A folder that all ranks see: results then travel through files in it. For
            ``device='cpu'`` only.

    Returns:
        At most ``size`` results on rank 0, ``None`` elsewhere.

    Raises:
        ValueError: If ``device`` is unknown, or ``tmpdir`` is given with ``device='gpu'``.
    """
    if device not in ("cpu", "gpu"):
        raise ValueError(f"collect_results: device must be 'cpu' or 'gpu', got {device!r}.")
    if device == "gpu":
        if tmpdir is not None:
            raise ValueError("collect_results: tmpdir must be None when device is 'gpu'.")
        return collect_results_gpu(results, size)
    return (
        _collect_through_group(results, size)
        if tmpdir is None
        else collect_results_cpu(results, size, tmpdir)
    )


def collect_results_gpu(result_part: list[Any], size: int) -> list[Any] | None:
    """``collect_results`` through the process group, on whatever device the group talks.

    Args:
        result_part: Results of this rank.
        size: How many there are in all.

    Returns:
        The results in the order of the dataset, on rank 0; ``None`` elsewhere.
    """
    return _collect_through_group(result_part, size)


def collect_results_cpu(
    result_part: list[Any], size: int, tmpdir: str | None = None
) -> list[Any] | None:
    """``collect_results`` through files in a folder that all ranks see.

    Args:
        result_part: Results of this rank.
        size: How many there are in all.
        tmpdir: The folder; made when missing, and removed at the end. A fresh one below the
            current directory by default.

    Returns:
        The results in the order of the dataset, on rank 0; ``None`` elsewhere.
    """
    rank, world_size = get_dist_info()
    if world_size == 1:
        return result_part[:size]
    folder = Path(_shared_folder(tmpdir))
    run_on_all(lambda: _write_part(folder, rank, result_part))
    if rank != 0:
        barrier()
        return None
    parts = [_read_part(folder, sender) for sender in range(0, world_size, ranks_per_batch())]
    shutil.rmtree(folder)
    barrier()
    return _dealt_order(parts, size)


def _shared_folder(tmpdir: str | None) -> str:
    rank, _ = get_dist_info()
    if rank == 0 and tmpdir is None:
        Path(".dist_test").mkdir(exist_ok=True)
        tmpdir = tempfile.mkdtemp(dir=".dist_test")
    folder = broadcast_object(tmpdir)
    return str(folder)


def _write_part(folder: Path, rank: int, part: list[Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"part_{rank}.pkl", "wb") as file:
        pickle.dump(part, file, protocol=pickle.HIGHEST_PROTOCOL)


def _read_part(folder: Path, rank: int) -> list[Any]:
    with open(folder / f"part_{rank}.pkl", "rb") as file:
        return pickle.load(file)


def _collect_through_group(part: list[Any], size: int) -> list[Any] | None:
    rank, world_size = get_dist_info()
    if world_size == 1:
        return part[:size]
    step = ranks_per_batch()  # ranks that share a batch have the same results
    if rank != 0:
        if rank % step == 0:
            _send(part)
        return None
    parts = [part, *(_receive(sender) for sender in range(step, world_size, step))]
    return _dealt_order(parts, size)


def _send(part: list[Any]) -> None:
    device = get_comm_device()
    for piece in _pieces(part):
        _send_bytes(piece, device)
    torch_dist.send(torch.zeros(1, dtype=torch.int64, device=device), dst=0)


def _send_bytes(piece: bytes, device: torch.device) -> None:
    torch_dist.send(torch.tensor([len(piece)], dtype=torch.int64, device=device), dst=0)
    payload = torch.frombuffer(bytearray(piece), dtype=torch.uint8)
    torch_dist.send(payload.to(device), dst=0)


def _receive(sender: int) -> list[Any]:
    device = get_comm_device()
    part: list[Any] = []
    length = torch.zeros(1, dtype=torch.int64, device=device)
    while True:
        torch_dist.recv(length, src=sender)
        length_bytes = int(length.item())
        if length_bytes == 0:
            return part
        payload = torch.empty(length_bytes, dtype=torch.uint8, device=device)
        torch_dist.recv(payload, src=sender)
        part.extend(_unpickled(payload))


def _unpickled(payload: Tensor) -> list[Any]:
    return pickle.loads(payload.cpu().numpy().data)


def _pieces(part: list[Any]) -> Iterator[bytes]:
    """Pickled runs of ``part``, each of about ``_PIECE_BYTES`` or of a single item."""
    start = 0
    items = _FIRST_ITEMS_IN_PIECE
    while start < len(part):
        piece = pickle.dumps(part[start : start + items], protocol=pickle.HIGHEST_PROTOCOL)
        if len(piece) > 2 * _PIECE_BYTES and items > 1:
            items = max(1, items * _PIECE_BYTES // len(piece))
            continue
        yield piece
        start += items
        items = max(1, min(items * 4, items * _PIECE_BYTES // len(piece)))


def _dealt_order(parts: list[list[Any]], size: int) -> list[Any]:
    """Take one result of each rank in turn; ranks may have different numbers of them."""
    ordered: list[Any] = []
    for turn in range(max(map(len, parts))):
        ordered.extend(part[turn] for part in parts if turn < len(part))
    return ordered[:size]
