"""A list of dicts as one block of bytes that processes share instead of copying.

A list of a million small dicts is a million objects: every worker that reads one changes its
reference count, and so copies its memory page. Packed, the index is one read-only mapping, and
reading an entry touches nothing else.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pickle import HIGHEST_PROTOCOL, dumps, loads
from typing import Any

import numpy as np
import numpy.typing as npt

from drivetrain.dataset._shared_block import Block, anonymous_file, share_on_machine

_WRITE_BYTES = 1 << 20
# Below this the bookkeeping of sharing with other processes costs more than it saves. Workers
# share even the smallest block: they inherit it.
_SHARE_BYTES = 1 << 20


class PackedIndex:
    """Pickled entries, end to end, in shared read-only memory. Use ``pack`` to make one.

    Args:
        block: The bytes and the ends of the entries.
        rows: Which entries, in which order; all where ``None``.
    """

    __slots__ = ("_block", "_ends", "_rows", "_view", "size")

    def __init__(self, block: Block, rows: npt.NDArray[np.int64] | None = None) -> None:
        self._block = block
        self._view = block.entries
        self._ends = block.ends
        self._rows = rows
        self.size = block.entry_count if rows is None else len(rows)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, row: int) -> Any:
        """A new object for one entry; ``row`` is not negative and below the length."""
        if self._rows is not None:
            row = self._rows[row]
        ends = self._ends
        return loads(self._view[ends[row] : ends[row + 1]])

    def take(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> PackedIndex:
        """The entries at ``rows``, over the same bytes: only the row numbers are new."""
        chosen = np.asarray(rows, dtype=np.int64)
        return PackedIndex(self._block, chosen if self._rows is None else self._rows[chosen])

    @property
    def nbytes(self) -> int:
        """Bytes of the shared block, the ends of the entries included."""
        return self._block.size_bytes

    @property
    def bytes_view(self) -> npt.NDArray[np.uint8]:
        """All entries of the block, end to end, also those that ``take`` left out."""
        return np.frombuffer(self._view, dtype=np.uint8)

    @property
    def ends_view(self) -> npt.NDArray[np.int64]:
        """``(entries of the block,)`` offsets in ``bytes_view``: where each entry ends."""
        return np.frombuffer(self._ends, dtype=np.int64)[1:]

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedIndex:
        return self  # nobody can change it

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedIndex, (self._block, self._rows)


def pack(entries: Iterable[Any]) -> PackedIndex:
    """Write entries into a shared block as they come: an iterator is never held as a list.

    Where another process of this user has a block of the same content, that one is used.
    """
    file, ends, digest = anonymous_file(), array("q", [0]), blake2b(digest_size=32)
    position = 0
    pending: list[bytes] = []
    pending_bytes = 0

    def write() -> None:
        nonlocal pending, pending_bytes
        chunk = b"".join(pending)
        digest.update(chunk)
        file.write(chunk)
        pending, pending_bytes = [], 0

    for entry in entries:
        data = dumps(entry, protocol=HIGHEST_PROTOCOL)
        position += len(data)
        ends.append(position)
        pending.append(data)
        pending_bytes += len(data)
        if pending_bytes >= _WRITE_BYTES:
            write()
    pending.append(b"\0" * Block.padding_bytes(position))
    write()
    digest.update(ends)
    file.write(ends)
    file.write(digest.digest())
    file.flush()
    block = Block(file, entry_bytes=position, entry_count=len(ends) - 1)
    return PackedIndex(share_on_machine(block) if block.size_bytes >= _SHARE_BYTES else block)
