"""LMDB databases: one file, many records."""

from __future__ import annotations

import os
from typing import Any

from drivetrain.fileio._backend import BaseStorageBackend
from drivetrain.fileio._errors import MissingLibraryError


class LmdbBackend(BaseStorageBackend):
    """Records of an LMDB database; a "path" is a key."""

    def __init__(
        self,
        db_path: str | os.PathLike[str],
        readonly: bool = True,
        lock: bool = False,
        readahead: bool = False,
        **kwargs: Any,
    ) -> None:
        """Keep the settings; the database is opened at the first read, in the process that reads.

        Args:
            db_path: The database.
            readonly: Refuse writing.
            lock: Guard against writers at the same time.
            readahead: Let the system read ahead; slower when the database is larger than memory.
            **kwargs: For ``lmdb.open``.

        Raises:
            MissingLibraryError: If ``lmdb`` is not installed.
        """
        try:
            # Here: the library is an extra, absent from most environments, type checks included.
            import lmdb  # pyrefly: ignore[missing-import]
        except ImportError as err:
            raise MissingLibraryError(
                "LmdbBackend needs the library 'lmdb', which is not installed: pip install lmdb"
            ) from err
        self._open = lmdb.open
        self.db_path = os.fspath(db_path)
        self.readonly = readonly
        self.lock = lock
        self.readahead = readahead
        self.kwargs = kwargs
        self._environment: Any = None
        self._owner_pid = -1

    def get(self, filepath: str | os.PathLike[str]) -> bytes:
        """Return the record of a key.

        Raises:
            KeyError: If there is no such key.
        """
        key = os.fspath(filepath)
        with self._database().begin(write=False) as transaction:
            record = transaction.get(key.encode("utf-8"))
        if record is None:
            raise KeyError(f"{self.db_path} has no record {key!r}")
        return bytes(record)

    def get_text(self, filepath: str | os.PathLike[str], encoding: str = "utf-8") -> str:
        """Return the record of a key as text."""
        return self.get(filepath).decode(encoding)

    def _database(self) -> Any:
        # An environment must not cross a fork: a worker process opens its own.
        if self._owner_pid != os.getpid():
            self._environment = self._open(
                self.db_path,
                readonly=self.readonly,
                lock=self.lock,
                readahead=self.readahead,
                **self.kwargs,
            )
            self._owner_pid = os.getpid()
        return self._environment
