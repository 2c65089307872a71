"""Petrel (ceph) clusters, through their own client library."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from drivetrain.fileio._errors import MissingLibraryError
from drivetrain.fileio._object_store import ObjectStoreBackend, PathLike


class PetrelBackend(ObjectStoreBackend):
    """Objects in one or several Petrel clusters.

    ``petrel://path`` means the default cluster, ``name:petrel://path`` the one called ``name``.
    """

    def __init__(
        self, path_mapping: Mapping[str, str] | None = None, enable_mc: bool = True
    ) -> None:
        """Open the client.

        Args:
            path_mapping: Each key found in a path is replaced by its value.
            enable_mc: Let the client cache in memcached.

        Raises:
            MissingLibraryError: If ``petrel_client`` is not installed.
        """
        self.path_mapping = dict(path_mapping) if path_mapping else None
        self._client = _open_client(enable_mc)

    def get(self, filepath: PathLike) -> bytes:
        """Return the bytes of an object.

        Raises:
            FileNotFoundError: If it does not exist.
        """
        path = self._native(filepath)
        content = self._client.Get(path)
        if content is None:
            raise FileNotFoundError(f"{path} does not exist")
        return bytes(content)

    def put(self, obj: bytes, filepath: PathLike) -> None:
        """Write bytes as one object."""
        self._client.put(self._native(filepath), obj)

    def exists(self, filepath: PathLike) -> bool:
        """Whether there is an object or a folder of this name."""
        return self.isfile(filepath) or self.isdir(filepath)

    def isdir(self, filepath: PathLike) -> bool:
        """Whether some object's name starts with this one and a slash."""
        return bool(self._client.isdir(self._native(filepath)))

    def isfile(self, filepath: PathLike) -> bool:
        """Whether there is an object of this name."""
        return bool(self._client.contains(self._native(filepath)))

    def generate_presigned_url(
        self, url: str, client_method: str = "get_object", expires_in: int = 3600
    ) -> str:
        """Return a URL that stands for the object for ``expires_in`` seconds."""
        return self._client.generate_presigned_url(url, client_method, expires_in)

    def _delete(self, filepath: str) -> None:
        self._client.delete(self._native(filepath))

    def _children(self, dir_path: str) -> Iterator[tuple[str, bool]]:
        # Without the trailing slash the client would also list siblings that start with the same
        # name.
        for name in self._client.list(self._native(dir_path).rstrip("/") + "/"):
            yield name.rstrip("/"), name.endswith("/")

    def _native(self, filepath: PathLike) -> str:
        path = os.fspath(filepath)
        for old, new in (self.path_mapping or {}).items():
            path = path.replace(old, new)
        path = re.sub(r"\\+", "/", path)  # a path that Windows joined
        return re.sub(r"(^|:)petrel://", r"\1s3://", path)


def _open_client(enable_mc: bool) -> Any:
    try:
        # By name: the library is not on the public index, only its users have it.
        client = importlib.import_module("petrel_client.client")
    except ImportError as err:
        raise MissingLibraryError(
            "PetrelBackend needs the library 'petrel_client', which is not installed.\n"
            "  For S3 compatible stores use s3:// URLs: they go through fsspec (pip install s3fs)."
        ) from err
    return client.Client(enable_mc=enable_mc)
