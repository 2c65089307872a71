"""A checksum while writing, in the same pass."""

from __future__ import annotations

import hashlib
import os
import threading
from queue import SimpleQueue
from types import TracebackType
from typing import IO

_PARALLEL_BYTES = 1 << 20  # below this, handing a piece to a thread costs more than hashing it
_READ_BYTES = 1 << 22


class HashingWriter:
    """A writable file that knows size and SHA-256 of what went through it.

    A large piece is hashed in a second thread while it is written: both release the interpreter.
    Pieces must come in order, as ``torch.save`` writes them. Use it in a ``with`` statement, which
    ends the thread.

    Attributes:
        error: The first error of the file below. ``torch.save`` replaces it by its own, which says
            less.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.size_bytes = 0
        self.error: OSError | None = None
        self._file = file
        self._hash = hashlib.sha256()
        # No executor: those refuse work while the interpreter waits for its last threads to end,
        # and a background save may still be running then.
        self._pieces: SimpleQueue[bytes | memoryview | None] = SimpleQueue()
        self._hashed: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> HashingWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is not None:
            self._pieces.put(None)
            self._thread.join()

    def write(self, data: bytes | memoryview) -> int:
        """Write one piece."""
        if self.error is not None:
            raise self.error
        size = len(data)
        try:
            if size < _PARALLEL_BYTES:
                self._file.write(data)
                self._hash.update(data)
            else:
                self._write_large(data)
        except OSError as err:
            self.error = err
            raise
        self.size_bytes += size
        return size

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        self._file.flush()

    def hexdigest(self) -> str:
        """SHA-256 of everything written so far."""
        return self._hash.hexdigest()

    def _write_large(self, data: bytes | memoryview) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._hash_pieces, name="checkpoint-hash")
            self._thread.start()
        self._pieces.put(data)
        try:
            self._file.write(data)
        finally:
            self._wait_for_hash()

    def _wait_for_hash(self) -> None:
        """Wait in any case: torch's buffer is valid only during the call that handed it over."""
        interrupt: KeyboardInterrupt | None = None
        while True:
            try:
                self._hashed.get()
                break
            except KeyboardInterrupt as err:
                interrupt = err
        if interrupt is not None:
            raise interrupt

    def _hash_pieces(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._hash.update(piece)
            del piece
            self._hashed.put(None)


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        buffer = memoryview(bytearray(_READ_BYTES))
        while size := file.readinto(buffer):
            digest.update(buffer[:size])
    return digest.hexdigest()
