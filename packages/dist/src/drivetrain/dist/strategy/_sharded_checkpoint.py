"""Checkpoints as a folder to which every rank brings its shards, for any number of ranks.

::

    iter_100.pth/
    ├── .metadata, __0_0.distcp, ...   tensors by name, laid out by torch.distributed.checkpoint
    ├── rest.pth                       everything else, written by rank 0
    └── manifest.json                  size and checksum of each file; written last

The folder is written under a hidden name and then renamed: it is whole or absent.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from drivetrain.checkpoint import (
    AsyncCheckpointWriter,
    _load_checkpoint,
    in_main_memory,
    save_checkpoint,
    shard_reader,
)
from drivetrain.dist._errors import StrategyError
from drivetrain.dist._group import get_rank, is_distributed
from drivetrain.dist._objects import run_on_main
from drivetrain.dist.strategy._shard_folder import (
    background_group,
    in_step,
    is_complete,
    make_folder,
    out_of_the_way,
    where,
)
from drivetrain.dist.strategy._shard_names import MOMENTS, SEPARATOR, join, split, weight_name
from drivetrain.dist.strategy._shards import gathered, local_part, map_tensors, with_local_part

# torch.distributed.checkpoint takes as long to import as torch itself: only those who write or read
# shards pay for it.
if TYPE_CHECKING:
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

_REST = "rest.pth"

Target = Callable[[str, torch.Size, torch.dtype], Tensor]
Then = Callable[[str], None]


def is_sharded_checkpoint(filename: str) -> bool:
    """Whether there is a folder of shards at ``filename``, complete or not."""
    return os.path.isfile(os.path.join(where(filename), ".metadata"))


def save_sharded(
    folder: str,
    checkpoint: Mapping[str, Any],
    model: nn.Module,
    optim_wrapper: Any,
    *,
    background: AsyncCheckpointWriter | None = None,
    then: Then | None = None,
) -> None:
    """Write ``checkpoint``, whose tensors may be shards; called on all ranks.

    Args:
        folder: Where to; replaced when it exists.
        checkpoint: With ``state_dict`` and, where ``optim_wrapper`` is to be saved, ``optimizer``.
        model: Gives parameters their names.
        optim_wrapper: Whose state ``checkpoint['optimizer']`` is.
        background: Writes while training goes on, which waits for a copy of this rank's shards.
        then: Called on rank 0 with ``folder`` when it is complete.
    """
    tensors, rest = split(checkpoint, model, optim_wrapper)
    rest = map_tensors(rest, gathered(keep=get_rank() == 0))

    def write(tensors: dict[str, Tensor], rest: Any, group: ProcessGroup | None) -> str:
        return make_folder(folder, lambda path: _write_files(path, tensors, rest, group), group)

    if background is None:
        path = write(tensors, rest, None)
        if then is not None:
            run_on_main(lambda: then(path))
        return
    own = {name: local_part(tensor) for name, tensor in tensors.items()}
    group = background_group()
    copy = in_step(lambda: background.stage({"own": own, "rest": rest if get_rank() == 0 else {}}))
    kept = {name: with_local_part(tensors[name], part) for name, part in copy["own"].items()}
    background.start(lambda: write(kept, copy["rest"], group), then if get_rank() == 0 else None)


def save_own_parts(
    folder: str,
    checkpoint: Mapping[str, Any],
    *,
    background: AsyncCheckpointWriter | None = None,
    then: Then | None = None,
) -> None:
    """Write one file a rank into a folder; called on all ranks. See ``save_sharded``."""

    def write(state: Any, group: ProcessGroup | None) -> str:
        return make_folder(folder, lambda path: save_checkpoint(state, own_file(path)), group)

    if background is None:
        path = write(checkpoint, None)
        if then is not None:
            run_on_main(lambda: then(path))
        return
    group = background_group()
    copy = in_step(lambda: background.stage(checkpoint))
    background.start(lambda: write(copy, group), then if get_rank() == 0 else None)


def own_file(folder: str) -> str:
    """This rank's file in a folder of one file a rank."""
    return os.path.join(where(folder), f"rank{get_rank()}.pth")


def load_sharded(folder: str, model: nn.Module | None, optim_wrapper: Any = None) -> dict[str, Any]:
    """Read a folder of shards; called on all ranks, of any number.

    Args:
        folder: What ``save_sharded`` wrote.
        model: Weights come cut as its parameters are; whole on the CPU without it.
        optim_wrapper: As for ``model``; without it the optimizer's state is left out, unless
            there is no model either.

    Returns:
        A checkpoint in the form of one file.

    Raises:
        StrategyError: If the folder is not complete.
    """
    folder = where(folder)
    rest = in_step(lambda: _read_rest(folder))
    if model is not None and optim_wrapper is None:
        rest.pop("optimizer_rest", None)
    wanted = (*rest["entries"], *((MOMENTS,) if "optimizer_rest" in rest else ()))
    return join(rest, _read_tensors(folder, wanted, _target_like(model)))


def outline_sharded(folder: str) -> dict[str, Any]:
    """What ``load_sharded`` would return, with tensors that have shapes and no values.

    Raises:
        StrategyError: If the folder is not complete.
    """
    rest = _read_rest(where(folder), "meta", "silent")
    tensors = {
        flat: torch.empty(found.size, dtype=found.properties.dtype, device="meta")
        for flat, found in _stored(where(folder))
    }
    return join(rest, tensors)


def write_whole(
    checkpoint: Mapping[str, Any],
    filename: str,
    *,
    backend_args: Mapping[str, Any] | None = None,
    background: AsyncCheckpointWriter | None = None,
    then: Then | None = None,
) -> None:
    """Write a checkpoint as one file, also where a folder of shards is; one process does it."""

    def write(state: Mapping[str, Any]) -> str:
        if not is_sharded_checkpoint(filename):
            save_checkpoint(state, filename, backend_args=backend_args)
        else:
            with out_of_the_way(filename):
                save_checkpoint(state, filename, backend_args=backend_args)
        return filename

    if background is not None:
        copy = background.stage(checkpoint)
        background.start(lambda: write(copy), then)
        return
    write(in_main_memory(checkpoint))
    if then is not None:
        then(filename)


def merge_shards(folder: str, filename: str) -> None:
    """Write a folder of shards as one file that every strategy reads; one process does it."""
    save_checkpoint(load_sharded(folder, None), filename)


def _write_files(
    path: str, tensors: dict[str, Tensor], rest: Any, group: ProcessGroup | None
) -> None:
    import torch.distributed.checkpoint as dcp

    if get_rank() == 0:
        save_checkpoint(rest, os.path.join(path, _REST))
    writer = dcp.FileSystemWriter(path)
    with warnings.catch_warnings():  # of no_dist, which is said on purpose
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.save(tensors, storage_writer=writer, process_group=group, no_dist=not is_distributed())


def _read_rest(folder: str, location: str = "cpu", logger: str = "current") -> dict[str, Any]:
    rest_file = os.path.join(folder, _REST)
    if not os.path.isfile(rest_file) or not is_complete(folder):
        missing = "its manifest" if os.path.isfile(rest_file) else _REST
        raise StrategyError(
            f"{folder}: this folder of shards is not complete; {missing} is missing.\n"
            "  Do:  resume from an earlier one."
        )
    return _load_checkpoint(rest_file, location, logger)


def _target_like(model: nn.Module | None) -> Target:
    """Where to read a tensor to: cut as the weight it belongs to, if it has that shape."""
    likes = {} if model is None else {**model.state_dict(), **dict(model.named_parameters())}

    def target(flat: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
        like = likes.get(weight_name(flat))
        if like is not None and size.numel() and like.shape == size and size:
            return torch.zeros_like(like.detach(), dtype=dtype)
        return torch.zeros(size, dtype=dtype)

    return target


def _read_tensors(folder: str, wanted: tuple[str, ...], target: Target) -> dict[str, Tensor]:
    import torch.distributed.checkpoint as dcp

    tensors = {
        flat: target(flat, found.size, found.properties.dtype)
        for flat, found in _stored(folder)
        if flat.partition(SEPARATOR)[0] in wanted
    }
    reader = shard_reader(folder)
    with warnings.catch_warnings():  # of no_dist, which is said on purpose
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(tensors, storage_reader=reader, no_dist=not is_distributed())
    return tensors


def _stored(folder: str) -> Iterator[tuple[str, TensorStorageMetadata]]:
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    metadata = shard_reader(folder).read_metadata().state_dict_metadata
    for flat, found in metadata.items():
        if isinstance(found, TensorStorageMetadata):
            yield flat, found
