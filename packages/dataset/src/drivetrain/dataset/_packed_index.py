"""A list of dicts as one block of bytes that processes share instead of copying.

A list of a million small dicts is a million objects: every worker that reads one changes its
reference count, and so copies its memory page. Packed, the index is a few large read-only
mappings, and reading an entry touches nothing else.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from multiprocessing.context import get_spawning_popen
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

_WRITE_BYTES = 1 << 20


class PackedIndex:
    """Pickled entries, end to end, in shared read-only memory. Use ``pack`` to make one.

    Args:
        block: The bytes and the ends of the entries.
        rows: Which entries, in which order; all where ``None``.
    """

    __slots__ = ("_block", "_ends", "_rows", "_view")

    def __init__(self, block: _Block, rows: npt.NDArray[np.int64] | None = None) -> None:
        self._block = block
        self._view = block.entries
        self._ends = block.ends
        self._rows = rows

    def __len__(self) -> int:
        return len(self._ends) - 1 if self._rows is None else len(self._rows)

    def __getitem__(self, row: int) -> Any:
        """A new object for one entry; ``row`` is not negative and below the length."""
        if self._rows is not None:
            row = int(self._rows[row])
        ends = self._ends
        return pickle.loads(self._view[ends[row] : ends[row + 1]])

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> PackedIndex:
        """The entries at ``rows``, over the same bytes: only the row numbers are new."""
        chosen = np.asarray(rows, dtype=np.int64)
        return PackedIndex(self._block, chosen if self._rows is None else self._rows[chosen])

    @property
    def nbytes(self) -> int:
        """Bytes of the shared block, the ends of the entries included."""
        return self._block.size_bytes

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedIndex:
        return self  # nobody can change it

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedIndex, (self._block, self._rows)


def pack(entries: Iterable[Any]) -> PackedIndex:
    """Write entries into a shared block as they come: a generator is never held as a list."""
    ends = array("q", [0])
    file = _anonymous_file()
    position, pending, pending_bytes = 0, [], 0
    for entry in entries:
        data = pickle.dumps(entry, protocol=pickle.HIGHEST_PROTOCOL)
        position += len(data)
        ends.append(position)
        pending.append(data)
        pending_bytes += len(data)
        if pending_bytes >= _WRITE_BYTES:
            file.write(b"".join(pending))
            pending, pending_bytes = [], 0
    pending.append(b"\0" * (-position % ends.itemsize))  # the ends lie on a word's border
    file.write(b"".join(pending))
    file.write(ends)
    file.flush()
    return PackedIndex(_Block(file, entry_bytes=position, entry_count=len(ends) - 1))


def _anonymous_file() -> BinaryIO:
    """A file without a name: the system frees it with its last user, however that one ends."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("drivetrain-index", os.MFD_CLOEXEC), "w+b")
    return tempfile.TemporaryFile(prefix="drivetrain-index-")


class _Block:
    """Bytes of entries and their ends, mapped read-only from an open file."""

    def __init__(self, file: BinaryIO, *, entry_bytes: int, entry_count: int) -> None:
        self.entry_bytes = entry_bytes
        self.entry_count = entry_count
        self._file = file  # open as long as a process might ask for it by number
        ends_at = entry_bytes + -entry_bytes % 8
        self.size_bytes = ends_at + 8 * (entry_count + 1)
        whole = memoryview(mmap.mmap(file.fileno(), self.size_bytes, access=mmap.ACCESS_READ))
        self.entries = whole[:entry_bytes]
        self.ends = whole[ends_at:].cast("q")

    def __reduce__(self) -> tuple[Any, ...]:
        sizes = (self.entry_bytes, self.entry_count)
        # A process that is being spawned lives while we do, and can open our open file.
        if get_spawning_popen() is not None and sys.platform == "linux":
            return _open_block, (f"/proc/{os.getpid()}/fd/{self._file.fileno()}", *sizes)
        with memoryview(self.ends.cast("B")) as ends:
            return _copy_block, (bytes(self.entries), bytes(ends), *sizes)


def _open_block(path: str, entry_bytes: int, entry_count: int) -> _Block:
    return _Block(open(path, "rb"), entry_bytes=entry_bytes, entry_count=entry_count)


def _copy_block(entries: bytes, ends: bytes, entry_bytes: int, entry_count: int) -> _Block:
    file = _anonymous_file()
    file.write(entries)
    file.write(b"\0" * (-entry_bytes % 8))
    file.write(ends)
    file.flush()
    return _Block(file, entry_bytes=entry_bytes, entry_count=entry_count)
