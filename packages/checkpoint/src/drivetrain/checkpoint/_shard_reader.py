"""Read folders of shards without running what their table of contents may name."""

from __future__ import annotations

import io
import os
import pathlib
import pickle
from collections import OrderedDict
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch

from drivetrain.checkpoint._errors import CheckpointCorruptError, UnsafeCheckpointError

if TYPE_CHECKING:
    from torch.distributed.checkpoint import FileSystemReader

_TABLE = ".metadata"
_OWN = {
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
}
_PATHS = {"Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"}


def shard_reader(folder: str | os.PathLike[str]) -> FileSystemReader:
    """Return a reader for ``torch.distributed.checkpoint.load`` that runs nothing from the folder.

    torch unpickles the folder's ``.metadata`` as it is, which may run any code. This reader knows
    the few classes that belong there and refuses all others.

    Raises:
        UnsafeCheckpointError: (when it reads) If the folder names anything else.
        CheckpointCorruptError: (when it reads) If its ``.metadata`` cannot be read.
    """
    # Here: this module of torch takes as long to import as torch itself.
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

    class _ShardReader(FileSystemReader):
        def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
            metadata = _read_table(os.path.join(folder, _TABLE))
            if getattr(metadata, "storage_meta", None) is None:
                metadata.storage_meta = StorageMeta()
            metadata.storage_meta.load_id = self.load_id
            return metadata

    return _ShardReader(folder)


def _read_table(path: str) -> Any:
    with open(path, "rb") as file:
        content = file.read()
    try:
        return _TableUnpickler(io.BytesIO(content)).load()
    except UnsafeCheckpointError as err:
        raise UnsafeCheckpointError(
            f"{path}: names {', '.join(err.refused)}, which does not belong there; it was not read",
            err.refused,
        ) from None
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, TypeError) as err:
        raise CheckpointCorruptError(f"{path}: cannot be read: {err}") from err


def _member(kind: Any, name: str) -> Any:
    """The member of an enumeration; no attribute of anything else."""
    if not (isinstance(kind, type) and issubclass(kind, Enum) and name in kind.__members__):
        raise UnsafeCheckpointError("", ("builtins.getattr",))
    return kind[name]


class _TableUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _OWN.get(module, ()):
            return super().find_class(module, name)
        if module == "torch":
            found = getattr(torch, name, None)
            if found is torch.Size or isinstance(found, torch.dtype):
                return found
        if module in ("pathlib", "pathlib._local") and name in _PATHS:
            return pathlib.PurePosixPath  # the other systems' kinds cannot be made here
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("builtins", "getattr"):
            return _member  # how Python 3.11.0 to 3.11.3 write members of an enumeration
        raise UnsafeCheckpointError("", (f"{module}.{name}",))
