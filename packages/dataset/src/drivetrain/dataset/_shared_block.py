"""A block of bytes without a name, that other processes find and map instead of copying.

The block lies in a file without a directory entry (a memory file on Linux), so the system frees
it with its last user, however that one ends. A process that is spawned, or another rank, opens it
through the entry of its holder in ``/proc``. Where a system has no such thing, each process that
does not inherit the block keeps its own.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import tempfile
import weakref
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import Any, BinaryIO

from drivetrain.fileio import file_lock

_DIGEST_BYTES = 32
_WORD_BYTES = 8
# Held for milliseconds; longer means that the holder is suspended, and we can do without it.
_LOCK_TIMEOUT_S = 30.0


def anonymous_file() -> BinaryIO:
    """An open file without a name."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("drivetrain-index", os.MFD_CLOEXEC), "w+b")
    return tempfile.TemporaryFile(prefix="drivetrain-index-")


class Block:
    """Entries, the ends of the entries as 64-bit integers, and a digest, mapped read-only.

    Args:
        file: Open, and kept open as long as another process might ask for it.
        entry_bytes: Bytes of all entries.
        entry_count: Number of entries.
    """

    def __init__(self, file: BinaryIO, *, entry_bytes: int, entry_count: int) -> None:
        self.entry_bytes = entry_bytes
        self.entry_count = entry_count
        self.file = file
        ends_at = entry_bytes + self.padding_bytes(entry_bytes)
        digest_at = ends_at + _WORD_BYTES * (entry_count + 1)
        self.size_bytes = digest_at + _DIGEST_BYTES
        whole = memoryview(mmap.mmap(file.fileno(), self.size_bytes, access=mmap.ACCESS_READ))
        self.entries = whole[:entry_bytes]
        self.ends = whole[ends_at:digest_at].cast("q")
        self.digest = bytes(whole[digest_at:])
        weakref.finalize(self, file.close)

    @staticmethod
    def padding_bytes(entry_bytes: int) -> int:
        """Bytes between the entries and their ends, which lie on a word's border."""
        return -entry_bytes % _WORD_BYTES

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that is being spawned lives while we do, and can open our open file.
        if get_spawning_popen() is not None and sys.platform == "linux":
            return _open_block, (_path_of(self.file), self.entry_bytes, self.entry_count)
        self.file.seek(0)
        return _copied_block, (self.file.read(), self.entry_bytes, self.entry_count)


def _path_of(file: BinaryIO) -> str:
    return f"/proc/{os.getpid()}/fd/{file.fileno()}"


def _open_block(path: str, entry_bytes: int, entry_count: int) -> Block:
    return Block(open(path, "rb"), entry_bytes=entry_bytes, entry_count=entry_count)


def _copied_block(content: bytes, entry_bytes: int, entry_count: int) -> Block:
    file = anonymous_file()
    file.write(content)
    file.flush()
    return Block(file, entry_bytes=entry_bytes, entry_count=entry_count)


def share_on_machine(block: Block) -> Block:
    """The block of the same content that a process of this user offers, else ``block``, on offer.

    Ranks each load their annotations, because loading may meet the other ranks (to download once,
    say); what they keep of it is one copy. Offers are small files in the temporary folder, under a
    lock; one whose process has ended, or whose digest differs, is replaced.
    """
    if sys.platform != "linux":
        return block
    try:
        offer = _offers_folder() / f"{block.digest.hex()}.json"
        with file_lock(offer, timeout_s=_LOCK_TIMEOUT_S):
            found = _taken(offer, block)
            if found is None:
                _make_offer(offer, block)
            return found or block
    except OSError:  # a folder that is full or not ours, or no lock: one more copy, no harm
        return block


def _offers_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"drivetrain-index-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone")
    return folder


def _taken(offer: Path, wanted: Block) -> Block | None:
    """The block behind an offer, if its process still holds it."""
    try:
        path = json.loads(offer.read_text())["path"]
        file = open(path, "rb")  # noqa: SIM115  # kept open by the block
    except (OSError, ValueError, KeyError):
        return None
    # The number of a closed file may name another file by now: compare before trusting it.
    if os.fstat(file.fileno()).st_size != wanted.size_bytes:
        file.close()
        return None
    found = Block(file, entry_bytes=wanted.entry_bytes, entry_count=wanted.entry_count)
    return found if found.digest == wanted.digest else None


def _make_offer(offer: Path, block: Block) -> None:
    _remove_dead_offers(offer.parent)
    offer.write_text(json.dumps({"pid": os.getpid(), "path": _path_of(block.file)}))
    weakref.finalize(block, _withdraw, offer, os.getpid())


def _withdraw(offer: Path, pid: int) -> None:
    if os.getpid() == pid:  # not in a forked worker, which inherits this duty too
        _remove(offer)


def _remove_dead_offers(folder: Path) -> None:
    for offer in folder.glob("*.json"):
        try:
            pid = json.loads(offer.read_text())["pid"]
        except (OSError, ValueError, KeyError):
            continue
        if not os.path.exists(f"/proc/{pid}"):
            _remove(offer)


def _remove(offer: Path) -> None:
    for path in (offer, offer.with_name(f"{offer.name}.lock")):
        path.unlink(missing_ok=True)
