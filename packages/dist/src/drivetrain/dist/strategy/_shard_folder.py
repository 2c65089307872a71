"""A checkpoint folder in the making: hidden, then sealed, then under its name, or not at all."""

from __future__ import annotations

import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch.distributed as torch_dist
from torch.distributed import ProcessGroup

from drivetrain.checkpoint import seal_folder
from drivetrain.dist._errors import RankFailedError
from drivetrain.dist._group import get_default_group, get_rank, is_distributed
from drivetrain.dist._objects import all_gather_object

_T = TypeVar("_T")
_MANIFEST = "manifest.json"  # as seal_folder names it
_PARTIAL = ".partial"
_REMOVED = ".removed"  # as drivetrain.checkpoint names a folder that it is about to remove
_REPLACED = ".replaced"
_STALE_AFTER_S = 600.0

# The group that background saves talk in, and the default group it was made under.
_background_group: tuple[ProcessGroup, ProcessGroup] | None = None


def background_group() -> ProcessGroup | None:
    """A gloo group of all ranks for another thread; made at the first call, on all ranks.

    Two threads must not use one group: ranks could order their messages differently.
    """
    global _background_group
    world = get_default_group()
    if world is None:
        return None
    if _background_group is None or _background_group[1] is not world:
        # Torch types what ranks outside of a group get, too; every rank is in this one.
        group: Any = torch_dist.new_group(backend="gloo")
        _background_group = (group, world)
    return _background_group[0]


def make_folder(
    folder: str, steps: Sequence[Callable[[str], None]], group: ProcessGroup | None = None
) -> str:
    """Make a checkpoint folder to which every rank brings files; called on all ranks.

    A rank that fails or dies leaves a hidden folder, which later saves remove, and what stood at
    ``folder`` before.

    Args:
        folder: Its path; what is there is replaced at the very end.
        steps: Each writes files of this rank into the folder that it gets; one in which ranks
            talk to one another does nothing before that could fail on one of them alone.
        group: Of all ranks, to agree in.

    Returns:
        ``folder``.
    """
    folder = folder.rstrip("/")
    partial = _hidden(folder) + _PARTIAL
    on_main = get_rank() == 0
    in_step(lambda: _fresh_folder(partial) if on_main else None, group)
    for write in steps:
        in_step(functools.partial(write, partial), group)
    in_step(lambda: _publish(partial, folder) if on_main else None, group)
    return folder


def in_step(action: Callable[[], _T], group: ProcessGroup | None = None) -> _T:
    """Do ``action`` on every rank of a group; if it fails on any, every rank raises."""
    result: Any = None
    error: Exception | None = None
    try:
        result = action()
    except Exception as err:
        error = err
    report = None if error is None else f"{type(error).__name__}: {error}"
    reports = all_gather_object(report, group) if is_distributed() else [report]
    if error is not None:
        raise error
    for rank, theirs in enumerate(reports):
        if theirs is not None:
            raise RankFailedError(f"rank {rank} failed: {theirs}", rank=rank)
    return result


def is_complete(folder: str) -> bool:
    """Whether all ranks brought their files: only then there is a manifest."""
    return os.path.isfile(os.path.join(folder, _MANIFEST))


def where(folder: str) -> str:
    """The folder, or what it was to replace when the process was killed between two renames."""
    replaced = folder.rstrip("/") + _REPLACED
    return replaced if not os.path.exists(folder) and os.path.isdir(replaced) else folder


@contextmanager
def out_of_the_way(path: str) -> Iterator[None]:
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


def _hidden(folder: str) -> str:
    parent, name = os.path.split(folder)
    return os.path.join(parent, f".{name}")


def _fresh_folder(partial: str) -> None:
    parent = os.path.dirname(partial) or "."
    os.makedirs(parent, exist_ok=True)
    for entry in os.scandir(parent):  # of saves and removals that were killed
        is_left = entry.name.startswith(".") and entry.name.endswith((_PARTIAL, _REMOVED))
        if is_left and time.time() - entry.stat().st_mtime > _STALE_AFTER_S:
            _remove(entry.path)
    _remove(partial)
    os.makedirs(partial)


def _publish(partial: str, folder: str) -> None:
    seal_folder(partial)
    with out_of_the_way(folder):
        os.rename(partial, folder)
    _sync_folder(os.path.dirname(folder) or ".")


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
