"""The older way to reach a backend, kept for code that uses it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

from drivetrain.fileio._backend import BaseStorageBackend
from drivetrain.fileio._backend_table import get_file_backend, parse_uri_prefix, register_backend

_DEPRECATION = (
    "FileClient is deprecated: use the functions of drivetrain.fileio, or get_file_backend()"
)


class FileClient:
    """A backend chosen by name or by URL prefix; every operation is the backend's own.

    Deprecated: use `get_file_backend`, or the functions that take ``backend_args``.

    Attributes:
        client: The backend.
    """

    client: BaseStorageBackend

    def __new__(
        cls, backend: str | None = None, prefix: str | None = None, **kwargs: Any
    ) -> FileClient:
        """Return the client; equal arguments share one backend.

        Args:
            backend: Name of a registered backend; wins over ``prefix``.
            prefix: URL prefix that the backend serves. Without both it is the disk.
            **kwargs: For the backend's constructor.

        Raises:
            UnknownBackendError: If there is no such backend.
        """
        warnings.warn(_DEPRECATION, DeprecationWarning, stacklevel=2)
        self = super().__new__(cls)
        uri = None if prefix is None else f"{prefix}://"
        arguments = kwargs if backend is None else {"backend": backend, **kwargs}
        if backend is None and prefix is None:
            arguments = {"backend": "disk", **kwargs}
        self.client = get_file_backend(uri, backend_args=arguments, enable_singleton=True)
        return _shared_clients.setdefault(id(self.client), self)

    def __getattr__(self, name: str) -> Any:
        if name == "client":  # asked for by copy and pickle before it is there
            raise AttributeError(name)
        return getattr(self.client, name)

    @property
    def name(self) -> str:
        """Name of the backend's class."""
        return self.client.name

    @staticmethod
    def parse_uri_prefix(uri: str | os.PathLike[str]) -> str | None:
        """Return what stands before ``://``, or None."""
        return parse_uri_prefix(uri) or None

    @classmethod
    def infer_client(
        cls,
        file_client_args: Mapping[str, Any] | None = None,
        uri: str | os.PathLike[str] | None = None,
    ) -> FileClient:
        """Return the client that ``file_client_args`` describe, or else the one for ``uri``."""
        if file_client_args is not None:
            return cls(**file_client_args)
        return cls(prefix=None if uri is None else cls.parse_uri_prefix(uri))

    @classmethod
    def register_backend(
        cls, name: str, backend: Any = None, force: bool = False, prefixes: Any = None
    ) -> Any:
        """Same as `drivetrain.fileio.register_backend`."""
        return register_backend(name, backend, force=force, prefixes=prefixes)


_shared_clients: dict[int, FileClient] = {}


def resolve_backend(
    uri: str | os.PathLike[str] | None,
    file_client_args: Mapping[str, Any] | None,
    backend_args: Mapping[str, Any] | None,
) -> BaseStorageBackend:
    """Return the backend for functions that take both the old and the new arguments.

    Raises:
        ValueError: If both are given.
    """
    if file_client_args is None:
        return get_file_backend(uri, backend_args=backend_args, enable_singleton=True)
    if backend_args is not None:
        raise ValueError("file_client_args and backend_args exclude each other; give backend_args")
    warnings.warn(
        "file_client_args is deprecated: use backend_args", DeprecationWarning, stacklevel=3
    )
    arguments = dict(file_client_args)
    prefix = arguments.pop("prefix", None)
    if prefix is not None and "backend" not in arguments:
        uri = f"{prefix}://"
    return get_file_backend(uri, backend_args=arguments, enable_singleton=True)
