"""Memcached servers that cache files, through their own client library."""

from __future__ import annotations

import importlib
import os
import sys

from drivetrain.fileio._backend import BaseStorageBackend
from drivetrain.fileio._errors import MissingLibraryError


class MemcachedBackend(BaseStorageBackend):
    """Files read through memcached servers."""

    def __init__(self, server_list_cfg: str, client_cfg: str, sys_path: str | None = None) -> None:
        """Connect.

        Args:
            server_list_cfg: File that lists the servers.
            client_cfg: File that configures the client.
            sys_path: Folder to append to ``sys.path``, where the client library lies.

        Raises:
            MissingLibraryError: If ``mc`` is not installed.
        """
        if sys_path is not None:
            sys.path.append(sys_path)
        try:
            # By name: the library is not on the public index, only its users have it.
            mc = importlib.import_module("mc")
        except ImportError as err:
            raise MissingLibraryError(
                "MemcachedBackend needs the library 'mc' (the client of your cluster), "
                "which is not installed; sys_path may name its folder"
            ) from err
        self.server_list_cfg = server_list_cfg
        self.client_cfg = client_cfg
        self._client = mc.MemcachedClient.GetInstance(server_list_cfg, client_cfg)
        self._buffer = mc.pyvector()
        self._to_bytes = mc.ConvertBuffer

    def get(self, filepath: str | os.PathLike[str]) -> memoryview:
        """Return the content of a file."""
        self._client.Get(os.fspath(filepath), self._buffer)
        return memoryview(self._to_bytes(self._buffer))

    def get_text(self, filepath: str | os.PathLike[str], encoding: str = "utf-8") -> str:
        """Return the content of a file as text."""
        return bytes(self.get(filepath)).decode(encoding)
