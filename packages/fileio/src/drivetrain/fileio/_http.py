"""Reading over HTTP and HTTPS with the standard library."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from drivetrain.fileio._backend import BaseStorageBackend
from drivetrain.fileio._errors import RemoteNotFoundError, RemoteReadError

_CHUNK_BYTES = 1 << 20
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class HTTPBackend(BaseStorageBackend):
    """Files behind ``http://`` and ``https://``; reading only."""

    def __init__(self, timeout_s: float = 60.0) -> None:
        """Keep the settings; nothing is opened yet.

        Args:
            timeout_s: How long one connection may stay silent.
        """
        self.timeout_s = timeout_s

    def get(self, filepath: str) -> bytes:
        """Return the bytes behind a URL.

        Raises:
            RemoteNotFoundError: If the server does not know the file.
            RemoteReadError: If the server refuses, or the connection breaks.
        """
        with open_url(filepath, timeout_s=self.timeout_s) as response:
            try:
                return response.read()
            except OSError as err:
                raise RemoteReadError(f"{filepath}: the connection broke: {err}") from err

    def get_text(self, filepath: str, encoding: str = "utf-8") -> str:
        """Return what is behind a URL as text."""
        return self.get(filepath).decode(encoding)

    def exists(self, filepath: str) -> bool:
        """Whether the server knows this file."""
        try:
            with open_url(filepath, method="HEAD", timeout_s=self.timeout_s):
                return True
        except RemoteNotFoundError:
            return False

    def isfile(self, filepath: str) -> bool:
        """Same as `exists`: a web server has no folders."""
        return self.exists(filepath)

    def join_path(self, filepath: str, *filepaths: str) -> str:
        """Join with ``/``."""
        return "/".join([filepath.rstrip("/"), *(part.strip("/") for part in filepaths)])

    @contextlib.contextmanager
    def get_local_path(self, filepath: str) -> Iterator[str]:
        """Download to a temporary file, yield its path, and remove it when the block ends."""
        suffix = os.path.splitext(filepath.split("?")[0])[1]
        descriptor, path = tempfile.mkstemp(suffix=suffix)
        try:
            with (
                os.fdopen(descriptor, "wb") as file,
                open_url(filepath, timeout_s=self.timeout_s) as response,
            ):
                while chunk := response.read(_CHUNK_BYTES):
                    file.write(chunk)
            yield path
        finally:
            os.unlink(path)


def open_url(
    url: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    timeout_s: float = 60.0,
) -> Any:
    """Open a URL; the response has ``read``, ``status`` and ``headers``.

    Raises:
        RemoteNotFoundError: On 404 and 410.
        RemoteReadError: On every other refusal, or when nobody answers.
    """
    # Lazily: they bring ssl and email, a third of a second on a cold disk, for code that may never
    # go online.
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    request = Request(url, headers={"User-Agent": "drivetrain", **(headers or {})}, method=method)
    try:
        return urlopen(request, timeout=timeout_s)
    except HTTPError as err:
        err.close()
        if err.code in _GONE:
            raise RemoteNotFoundError(f"{url}: the server has no such file ({err.code})") from err
        raise RemoteReadError(f"{url}: the server answered {err.code} {err.reason}") from err
    except (URLError, TimeoutError, ConnectionError) as err:
        reason = getattr(err, "reason", err)
        raise RemoteReadError(f"{url}: no connection: {reason}") from err
