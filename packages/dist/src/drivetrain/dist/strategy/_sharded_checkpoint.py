"""Checkpoints as a folder to which every rank brings its shards, for any number of ranks.

::

    iter_100.pth/
    ├── .metadata, __0_0.distcp, ...   tensors by name, laid out by torch.distributed.checkpoint
    └── rest.pth                       everything else, written by rank 0

The folder is written under another name and then renamed: it is whole or absent.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from drivetrain.checkpoint import _load_checkpoint, save_checkpoint
from drivetrain.dist._errors import StrategyError
from drivetrain.dist._group import is_distributed
from drivetrain.dist._objects import run_on_main
from drivetrain.dist.strategy._shards import named_wrappers

# torch.distributed.checkpoint takes as long to import as torch itself: only those who write or read
# shards pay for it.
if TYPE_CHECKING:
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

_REST = "rest.pth"
_PARTIAL = ".partial"
_REPLACED = ".replaced"
_WEIGHTS = "state_dict"
_MOMENTS = "optimizer"
_SEPARATOR = "/"  # names of parameters hold dots

# A flat name is "state_dict/<weight>" or "optimizer/<wrapper>/<parameter>/<value>".
Target = Callable[[str, torch.Size, torch.dtype], Tensor]


def is_sharded_checkpoint(filename: str) -> bool:
    """Whether there is a folder of shards at ``filename``, complete or not."""
    return os.path.isfile(os.path.join(_where(filename), ".metadata"))


def save_sharded(
    folder: str, checkpoint: dict[str, Any], model: nn.Module, optim_wrapper: Any
) -> None:
    """Write ``checkpoint``, whose tensors may be shards; called on all ranks.

    Args:
        folder: Where to; replaced when it exists.
        checkpoint: With ``state_dict`` and, where ``optim_wrapper`` is to be saved, ``optimizer``.
        model: Gives parameters their names.
        optim_wrapper: Whose state ``checkpoint['optimizer']`` is.
    """
    rest = {key: value for key, value in checkpoint.items() if key not in (_WEIGHTS, _MOMENTS)}
    tensors, plain = _split_weights(checkpoint[_WEIGHTS])
    rest["plain_state_dict"] = plain
    if _MOMENTS in checkpoint:
        moments, rest["optimizer_rest"] = _split_optimizer(
            checkpoint[_MOMENTS], optim_wrapper, model
        )
        tensors |= moments
    partial = folder.rstrip("/") + _PARTIAL
    run_on_main(lambda: _fresh_folder(partial))
    import torch.distributed.checkpoint as dcp

    writer = dcp.FileSystemWriter(partial)
    with warnings.catch_warnings():  # of no_dist, which is said on purpose
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.save(tensors, storage_writer=writer, no_dist=not is_distributed())
    run_on_main(lambda: save_checkpoint(rest, os.path.join(partial, _REST)))
    run_on_main(lambda: _put_in_place(partial, folder.rstrip("/")))


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
    folder = _where(folder)
    rest_file = os.path.join(folder, _REST)
    if not os.path.isfile(rest_file):
        raise StrategyError(
            f"{folder}: this folder of shards is not complete; {_REST} is missing.\n"
            "  Do:  resume from an earlier one."
        )
    rest = _load_checkpoint(rest_file, "cpu", "current")
    with_optimizer = "optimizer_rest" in rest and (model is None or optim_wrapper is not None)
    wanted = (_WEIGHTS, _MOMENTS) if with_optimizer else (_WEIGHTS,)
    tensors = _read_tensors(folder, wanted, _target_like(model))
    weights = {
        name.removeprefix(_WEIGHTS + _SEPARATOR): tensor
        for name, tensor in tensors.items()
        if name.startswith(_WEIGHTS + _SEPARATOR)
    }
    checkpoint = {_WEIGHTS: {**weights, **rest.pop("plain_state_dict")}}
    optimizer_rest = rest.pop("optimizer_rest", None)
    if with_optimizer:
        checkpoint[_MOMENTS] = _joined_optimizer(optimizer_rest, tensors)
    return {**rest, **checkpoint}


def write_file(checkpoint: dict[str, Any], filename: str, **options: Any) -> None:
    """Write a checkpoint as one file, also where a folder of shards is."""
    if not is_sharded_checkpoint(filename):
        save_checkpoint(checkpoint, filename, **options)
        return
    with _out_of_the_way(filename):
        save_checkpoint(checkpoint, filename, **options)


def merge_shards(folder: str, filename: str) -> None:
    """Write a folder of shards as one file that every strategy reads; one process does it."""
    save_checkpoint(load_sharded(folder, None), filename)


def _where(folder: str) -> str:
    """The folder, or what it was to replace when the process was killed between two renames."""
    replaced = folder.rstrip("/") + _REPLACED
    return replaced if not os.path.exists(folder) and os.path.isdir(replaced) else folder


def _fresh_folder(path: str) -> None:
    _remove(path)
    os.makedirs(path)


def _put_in_place(partial: str, folder: str) -> None:
    with _out_of_the_way(folder):
        os.rename(partial, folder)
    _sync_folder(os.path.dirname(folder) or ".")


@contextmanager
def _out_of_the_way(path: str) -> Iterator[None]:
    """Move what is at ``path`` aside for the body, then remove it; put it back if that fails."""
    replaced = path + _REPLACED
    if not os.path.exists(path):  # perhaps since a kill, and what was replaced is all there is
        yield
        _remove(replaced)
        return
    _remove(replaced)
    os.rename(path, replaced)
    try:
        yield
    except BaseException:
        os.rename(replaced, path)
        raise
    _remove(replaced)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def _sync_folder(path: str) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _split_weights(state_dict: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, plain = {}, {}
    for name, value in state_dict.items():
        if isinstance(value, Tensor):
            tensors[f"{_WEIGHTS}{_SEPARATOR}{name}"] = value.detach()
        else:
            plain[name] = value
    return tensors, plain


def _split_optimizer(
    state: Mapping[str, Any], optim_wrapper: Any, model: nn.Module
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by flat name, and the rest with parameters by name instead of by number."""
    names = {id(param): name for name, param in model.named_parameters()}
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for key, wrapper in named_wrappers(optim_wrapper):
        own = state if key is None else state[key]
        by_number = _names_by_number(own, wrapper.optimizer, names)
        values: dict[str, dict[str, Any]] = {}
        for number, found in own["state"].items():
            values[by_number[number]] = {
                k: v for k, v in found.items() if not isinstance(v, Tensor)
            }
            for value_name, value in found.items():
                if isinstance(value, Tensor):
                    flat = _SEPARATOR.join((_MOMENTS, key or "", by_number[number], value_name))
                    tensors[flat] = value
        groups = [
            {**group, "params": [by_number[number] for number in group["params"]]}
            for group in own["param_groups"]
        ]
        others = {k: v for k, v in own.items() if k not in ("state", "param_groups")}
        rest[key or ""] = {"plain_state": values, "param_groups": groups, "others": others}
    return tensors, {"several": None not in dict(named_wrappers(optim_wrapper)), "wrappers": rest}


def _names_by_number(
    state: Mapping[str, Any], optimizer: torch.optim.Optimizer, names: Mapping[int, str]
) -> dict[int, str]:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    if any(id(param) not in names for param in params):
        raise StrategyError("save_checkpoint: the optimizer has parameters that the model lacks.")
    return {n: names[id(param)] for n, param in zip(numbers, params, strict=True)}


def _joined_optimizer(rest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    joined = {
        key: _joined_wrapper(own, _values_of(key, tensors)) for key, own in rest["wrappers"].items()
    }
    return joined if rest["several"] else joined[""]


def _joined_wrapper(
    own: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, Any]:
    """The state of one wrapper, with parameters by number again."""
    ordered = [name for group in own["param_groups"] for name in group["params"]]
    number = {name: index for index, name in enumerate(ordered)}
    values: dict[int, dict[str, Any]] = {}
    for name in [*own["plain_state"], *(n for n in tensors if n not in own["plain_state"])]:
        values[number[name]] = {**own["plain_state"].get(name, {}), **tensors.get(name, {})}
    groups = [
        {**group, "params": [number[name] for name in group["params"]]}
        for group in own["param_groups"]
    ]
    return {**own["others"], "state": dict(sorted(values.items())), "param_groups": groups}


def _values_of(key: str, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors of one wrapper, by parameter and by name of the value."""
    start = _SEPARATOR.join((_MOMENTS, key, ""))
    values: dict[str, dict[str, Tensor]] = {}
    for flat, tensor in tensors.items():
        if flat.startswith(start):
            name, _, value_name = flat.removeprefix(start).rpartition(_SEPARATOR)
            values.setdefault(name, {})[value_name] = tensor
    return values


def _target_like(model: nn.Module | None) -> Target:
    """Where to read a tensor to: cut as the weight it belongs to, if it has that shape."""
    likes = {} if model is None else {**model.state_dict(), **dict(model.named_parameters())}

    def target(flat: str, size: torch.Size, dtype: torch.dtype) -> Tensor:
        kind, _, name = flat.partition(_SEPARATOR)
        if kind == _MOMENTS:
            name = name.partition(_SEPARATOR)[2].rpartition(_SEPARATOR)[0]
        like = likes.get(name)
        if like is not None and size.numel() and like.shape == size and size:
            return torch.zeros_like(like.detach(), dtype=dtype)
        return torch.zeros(size, dtype=dtype)

    return target


def _read_tensors(folder: str, wanted: tuple[str, ...], target: Target) -> dict[str, Tensor]:
    import torch.distributed.checkpoint as dcp

    tensors = {
        flat: target(flat, found.size, found.properties.dtype)
        for flat, found in _stored(folder)
        if flat.partition(_SEPARATOR)[0] in wanted
    }
    reader = dcp.FileSystemReader(folder)
    with warnings.catch_warnings():  # of no_dist, which is said on purpose
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(tensors, storage_reader=reader, no_dist=not is_distributed())
    return tensors


def _stored(folder: str) -> Iterator[tuple[str, TensorStorageMetadata]]:
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    metadata = FileSystemReader(folder).read_metadata().state_dict_metadata
    for flat, found in metadata.items():
        if isinstance(found, TensorStorageMetadata):
            yield flat, found
