"""Checkpoints as a folder to which every rank brings its shards, for any number of ranks.

::

    iter_100.pth/
    ├── .metadata, __0_0.distcp, ...   tensors by name, laid out by torch.distributed.checkpoint
    ├── rest.pth                       everything else, written by rank 0
    └── manifest.json                  size and checksum of each file; written last

The folder is written under a hidden name and then renamed: it is whole or absent.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
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
from drivetrain.dist._objects import gather_object, run_on_main
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
        checkpoint: With ``state_dict`` and, where ``optim_wrapper`` is to be saved, ``optimizer``;
            ``random_state`` is a list with that of this rank.
        model: Gives parameters their names.
        optim_wrapper: Whose state ``checkpoint['optimizer']`` is.
        background: Writes while training goes on, which waits for a copy of this rank's shards.
        then: Called on rank 0 with ``folder`` when it is complete.
    """
    tensors, rest = split(checkpoint, model, optim_wrapper)
    rest = map_tensors(rest, gathered(keep=get_rank() == 0, only_cut=True))
    rest.setdefault("random_state", [])
    if get_rank() != 0:  # all else is written by rank 0
        rest = {"random_state": rest["random_state"]}

    def write(tensors: dict[str, Tensor], rest: Any, group: ProcessGroup | None) -> str:
        states = in_step(lambda: _of_all_ranks(rest["random_state"], group), group)
        whole = {**rest, "random_state": states}
        steps = [partial(_write_rest, whole), partial(_write_tensors, tensors, group)]
        return make_folder(folder, steps, group)

    if background is None:
        path = write(tensors, in_main_memory(rest), None)
        if then is not None:
            run_on_main(lambda: then(path))
        return
    own = {name: local_part(tensor) for name, tensor in tensors.items()}

    def write_later(copy: Mapping[str, Any], group: ProcessGroup | None) -> str:
        kept = {name: with_local_part(tensors[name], part) for name, part in copy["own"].items()}
        return write(kept, copy["rest"], group)

    _write_in_background({"own": own, "rest": rest}, write_later, background, then)


def save_own_parts(
    folder: str,
    checkpoint: Mapping[str, Any],
    *,
    background: AsyncCheckpointWriter | None = None,
    then: Then | None = None,
) -> None:
    """Write one file a rank into a folder; called on all ranks. See ``save_sharded``."""

    def write(state: Any, group: ProcessGroup | None) -> str:
        return make_folder(folder, [lambda path: save_checkpoint(state, own_file(path))], group)

    if background is None:
        path = write(checkpoint, None)
        if then is not None:
            run_on_main(lambda: then(path))
        return
    _write_in_background(checkpoint, write, background, then)


def _write_in_background(
    state: Mapping[str, Any],
    write: Callable[[Mapping[str, Any], ProcessGroup | None], str],
    background: AsyncCheckpointWriter,
    then: Then | None,
) -> None:
    """Copy this rank's state, and let another thread write it together with those of all ranks."""
    group = background_group()
    copy: Mapping[str, Any] = {}
    failure: Exception | None = None
    try:
        copy = background.stage(state)
    except Exception as err:  # the other ranks learn of it where they write; none waits here
        failure = err

    def run() -> str:
        in_step(lambda: _raise_if(failure), group)
        return write(copy, group)

    background.start(run, then if get_rank() == 0 else None)
    _raise_if(failure)


def _raise_if(failure: Exception | None) -> None:
    if failure is not None:
        raise failure


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

    Args:
        folder: What ``save_sharded`` wrote.

    Returns:
        A checkpoint in the form of one file; its tensors are on the device ``meta``.

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
    """Write a folder of shards as one file that every strategy reads; one process does it.

    Args:
        folder: What ``save_sharded`` wrote.
        filename: Path or address of the file; whole tensors, so all must fit into main memory.

    Raises:
        StrategyError: If the folder is not complete.
    """
    save_checkpoint(load_sharded(folder, None), filename)


def _write_rest(rest: Mapping[str, Any], path: str) -> None:
    if get_rank() == 0:
        save_checkpoint(rest, os.path.join(path, _REST))


def _write_tensors(tensors: dict[str, Tensor], group: ProcessGroup | None, path: str) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.api import CheckpointException

    writer = dcp.FileSystemWriter(path)
    with warnings.catch_warnings():  # of no_dist, which is said on purpose
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        try:
            alone = not is_distributed()
            dcp.save(tensors, storage_writer=writer, process_group=group, no_dist=alone)
        except CheckpointException as err:  # which is no Exception
            why = "; ".join(
                f"rank {rank}: {type(failure).__name__}: {failure}"
                for rank, (failure, _) in err.failures.items()
            )
            raise StrategyError(f"{path}: the shards could not be written: {why}") from err


def _of_all_ranks(own: list[Any], group: ProcessGroup | None) -> list[Any] | None:
    by_rank = gather_object(own, group=group)
    return None if by_rank is None else list(itertools.chain.from_iterable(by_rank))


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
