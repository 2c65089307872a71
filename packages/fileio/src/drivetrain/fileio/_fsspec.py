"""Every store that fsspec knows: S3, Google Cloud, Azure, HDFS, SSH, archives, memory, …"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from drivetrain.fileio._errors import MissingLibraryError, UnknownBackendError
from drivetrain.fileio._object_store import ObjectStoreBackend, PathLike


class FsspecBackend(ObjectStoreBackend):
    """Files in any store for which fsspec has a file system.

    The protocol is read from each URL (``s3://bucket/name``), or given once for paths without one.
    The library that speaks the protocol (``s3fs`` for ``s3://``) must be installed; fsspec itself
    is loaded at the first use.

    Example:
        >>> backend = FsspecBackend()
        >>> backend.put(b"hello", "memory://notes/a.txt")
        >>> backend.get("memory://notes/a.txt")
        b'hello'
    """

    def __init__(self, protocol: str | None = None, **storage_options: Any) -> None:
        """Keep the settings; nothing is opened yet.

        Args:
            protocol: For paths that carry none.
            **storage_options: For the file system: keys, endpoint, region, …
        """
        self.protocol = protocol
        self.storage_options = storage_options

    def get(self, filepath: PathLike) -> bytes:
        """Return the bytes of an object."""
        fs, path = self._resolve(filepath)
        return fs.cat_file(path)

    def put(self, obj: bytes, filepath: PathLike) -> None:
        """Write bytes as one object."""
        fs, path = self._resolve(filepath)
        _make_parent(fs, path)
        fs.pipe_file(path, bytes(obj))

    def exists(self, filepath: PathLike) -> bool:
        """Whether there is an object or a folder of this name."""
        fs, path = self._resolve(filepath)
        return fs.exists(path)

    def isdir(self, filepath: PathLike) -> bool:
        """Whether this is a folder."""
        fs, path = self._resolve(filepath)
        return fs.isdir(path)

    def isfile(self, filepath: PathLike) -> bool:
        """Whether this is an object."""
        fs, path = self._resolve(filepath)
        return fs.isfile(path)

    def rmtree(self, dir_path: PathLike) -> None:
        """Remove a folder with all that is in it.

        Raises:
            FileNotFoundError: If it does not exist.
        """
        fs, path = self._resolve(dir_path)
        fs.rm(path, recursive=True)

    def generate_presigned_url(
        self, url: str, client_method: str = "get_object", expires_in: int = 3600
    ) -> str:
        """Return a URL that lets its holder read the object for ``expires_in`` seconds.

        Args:
            url: The object.
            client_method: Stores behind fsspec sign reading only: ``"get_object"``.
            expires_in: Seconds.

        Raises:
            ValueError: If ``client_method`` is another one.
            NotImplementedError: From fsspec, if the store cannot sign.
        """
        if client_method != "get_object":
            raise ValueError(
                f"generate_presigned_url: client_method must be 'get_object', got {client_method!r}"
            )
        fs, path = self._resolve(url)
        return fs.sign(path, expiration=expires_in)

    def _delete(self, filepath: str) -> None:
        fs, path = self._resolve(filepath)
        fs.rm_file(path)

    def _children(self, dir_path: str) -> Iterator[tuple[str, bool]]:
        fs, path = self._resolve(dir_path)
        for info in fs.ls(path, detail=True):
            name = info["name"].rstrip("/").rsplit("/", 1)[-1]
            # Some stores list a folder's own marker object among its children.
            if info["name"].strip("/") != path.strip("/"):
                yield name, info["type"] == "directory"

    def _copy(self, src: str, dst: str) -> None:
        fs, src_path = self._resolve(src)
        dst_path = self._resolve(dst)[1]
        _make_parent(fs, dst_path)
        fs.cp_file(src_path, dst_path)

    def _upload(self, local: str, dst: str) -> None:
        fs, path = self._resolve(dst)
        _make_parent(fs, path)
        fs.put_file(local, path)

    def _download(self, src: str, local: str) -> None:
        fs, path = self._resolve(src)
        fs.get_file(path, local)

    def _resolve(self, filepath: PathLike) -> tuple[Any, str]:
        import fsspec.core  # lazily: most runs never leave the local disk

        url = os.fspath(filepath)
        if "://" not in url and "::" not in url and self.protocol is not None:
            url = f"{self.protocol}://{url}"
        try:
            fs, path = fsspec.core.url_to_fs(url, **self.storage_options)
        except ImportError as err:
            protocol = url.split("://")[0]
            raise MissingLibraryError(
                f"{url}: no library for {protocol!r} is installed.\n  fsspec says: {err}"
            ) from err
        # Listings are remembered by default, so what another process wrote would stay unseen.
        fs.invalidate_cache()
        return fs, path


def has_fsspec_protocol(protocol: str) -> bool:
    """Whether fsspec knows of a file system for this protocol, installed or not."""
    from fsspec.registry import available_protocols  # lazily: see FsspecBackend._resolve

    return protocol in available_protocols()


def require_fsspec_protocol(protocol: str, known: list[str]) -> None:
    """Raise `UnknownBackendError` unless fsspec knows the protocol."""
    if not has_fsspec_protocol(protocol):
        raise UnknownBackendError(
            f"no backend for URLs that start with {protocol}://\n"
            f"  Registered here: {', '.join(prefix for prefix in known if prefix)}\n"
            "  Also possible:   every protocol in fsspec.available_protocols()\n"
            f"  Your own?        register_backend(name, backend, prefixes={protocol!r})"
        )


def _make_parent(fs: Any, path: str) -> None:
    # Object stores need no folders, and creating one there would try to create the bucket.
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if protocols & {"file", "local", "memory", "sftp", "ssh", "hdfs", "smb"}:
        parent = fs._parent(path)
        if parent:
            fs.makedirs(parent, exist_ok=True)
