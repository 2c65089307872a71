"""Read a checkpoint file: nothing but data comes out of it."""

from __future__ import annotations

import difflib
import os
import pickle
import re
from typing import Any

import torch

from drivetrain.checkpoint._errors import (
    CheckpointCorruptError,
    CheckpointDeviceError,
    CheckpointNotFoundError,
    UnsafeCheckpointError,
)
from drivetrain.checkpoint._legacy import is_legacy, load_legacy
from drivetrain.checkpoint._safetensors import is_safetensors, load_safetensors
from drivetrain.checkpoint._verify import verify_checkpoint

_DEVICE_IS_ABSENT = re.compile("deserialize object on|device not recognized")
_REFUSED_GLOBAL = re.compile(r"GLOBAL (\S+)")


def read_checkpoint_file(
    path: str | os.PathLike[str], map_location: Any = None, *, weights_only: bool = True
) -> Any:
    """Return what a local checkpoint file holds.

    The file is verified first (see `verify_checkpoint`), then read with ``weights_only=True``.
    Checkpoints of the reference engine are understood; their log history comes as plain data.

    Args:
        path: A file that ``torch.save`` or this package wrote, or a ``.safetensors`` file.
        map_location: As for ``torch.load``.
        weights_only: False lets the file run code. Only for files that you trust.

    Raises:
        CheckpointNotFoundError: If there is no such file.
        CheckpointCorruptError: If it is cut, changed, or no checkpoint.
        UnsafeCheckpointError: If it holds more than plain data.
        CheckpointDeviceError: If its tensors belong to a device that is not here.
    """
    path = os.fspath(path)
    _require_file(path)
    verify_checkpoint(path)
    if is_safetensors(path):
        return load_safetensors(path, map_location)
    try:
        if not weights_only:
            return torch.load(path, map_location=map_location, weights_only=False)
        return _load_safely(path, map_location)
    except UnsafeCheckpointError:
        raise
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as err:
        if _DEVICE_IS_ABSENT.search(str(err)):
            raise CheckpointDeviceError(
                f"{path}: its tensors were saved from a device that is not here.\n"
                "  What to do: map_location='cpu' (or the device to use)."
            ) from err
        raise CheckpointCorruptError(f"{path}: cannot be read as a checkpoint: {err}") from err


def _load_safely(path: str, map_location: Any) -> Any:
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as err:
        refused = _refused_names(path, err)
        if not refused:
            raise
        if not is_legacy(refused):
            raise _unsafe(path, refused) from err
    try:
        return load_legacy(path, map_location)
    except pickle.UnpicklingError as err:
        raise _unsafe(path, refused) from err


def _refused_names(path: str, err: pickle.UnpicklingError) -> set[str]:
    try:
        return set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError):
        # Files from before torch 1.6 cannot be listed; the first refused name must do.
        return set(_REFUSED_GLOBAL.findall(str(err))[:1])


def _unsafe(path: str, refused: set[str]) -> UnsafeCheckpointError:
    names = tuple(sorted(refused))
    return UnsafeCheckpointError(
        f"{path}: holds objects that are not plain data, and was not loaded.\n"
        f"  Refused:    {', '.join(names)}\n"
        "  Safe way:   have its author save numbers, strings, containers and tensors only.\n"
        "  Unsafe way: weights_only=False, which lets the file run any code in this process. "
        "Only you can decide that.",
        names,
    )


def _require_file(path: str) -> None:
    if os.path.isfile(path):
        return
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise CheckpointNotFoundError(f"{path}: is a folder; give the file in it")
    if not os.path.isdir(folder):
        raise CheckpointNotFoundError(f"{path}: there is no folder {folder}")
    near = difflib.get_close_matches(os.path.basename(path), os.listdir(folder), n=3, cutoff=0.5)
    near = [name for name in near if not name.endswith(".json")]
    hint = f"\n  Did you mean:  {', '.join(near)}" if near else ""
    raise CheckpointNotFoundError(f"{path}: there is no such file{hint}")
