"""Large files over HTTP: once, whole, checked, and resumed where a connection broke."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from drivetrain.fileio._atomic import fsync_directory
from drivetrain.fileio._errors import DigestMismatchError, RemoteNotFoundError, RemoteReadError
from drivetrain.fileio._http import open_url
from drivetrain.fileio._lock import file_lock

_CHUNK_BYTES = 1 << 20
_PARTIAL_CONTENT = 206


def download(
    url: str,
    path: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    attempts: int = 5,
    timeout_s: float = 60.0,
) -> str:
    """Download a file unless it is there already.

    Several processes may ask for one file: one downloads, the others wait. The bytes go to
    ``<path>.part``; a download that broke, or whose process died, goes on where it stopped if the
    server still has the same file. The file takes its name when it is whole and checked.

    Args:
        url: What to download.
        path: Where to put it; missing folders are made.
        sha256: The checksum that the content must have, or the first digits of it. A file that is
            there already is not checked again.
        attempts: How often in all to ask the server when connections break.
        timeout_s: How long a connection may stay silent.

    Returns:
        ``path``.

    Raises:
        RemoteNotFoundError: If the server does not know the file.
        RemoteReadError: If no attempt succeeded.
        DigestMismatchError: If the content is another one; it is removed.
    """
    target = os.fspath(path)
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    with file_lock(target):
        if not os.path.exists(target):
            part = _Part(f"{target}.part", url, timeout_s)
            part.fetch(attempts)
            part.check(sha256)
            part.rename(target)
    return target


@dataclass
class _Part:
    """A download that is not whole yet, and the server's name for its version."""

    path: str
    url: str
    timeout_s: float

    def fetch(self, attempts: int) -> None:
        for attempt in range(1, attempts + 1):
            try:
                self._fetch_rest()
                return
            except RemoteNotFoundError:
                raise
            except (OSError, EOFError) as err:
                if attempt == attempts:
                    raise RemoteReadError(
                        f"{self.url}: gave up after {attempts} attempts: {err}\n"
                        f"  What came is kept in {self.path}; the next call goes on from there."
                    ) from err

    def check(self, sha256: str | None) -> None:
        if sha256 is None:
            return
        digest = hashlib.sha256()
        with open(self.path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        if not digest.hexdigest().startswith(sha256.lower()):
            self._forget()
            raise DigestMismatchError(
                f"{self.url}: the content has the SHA-256 {digest.hexdigest()}, not {sha256}.\n"
                "  It was removed. The file changed at its source, or something on the way did it."
            )

    def rename(self, target: str) -> None:
        os.replace(self.path, target)
        Path(self._version_path).unlink(missing_ok=True)
        fsync_directory(os.path.dirname(os.path.abspath(target)))

    @property
    def _version_path(self) -> str:
        return f"{self.path}.version"

    def _fetch_rest(self) -> None:
        have = os.path.getsize(self.path) if os.path.exists(self.path) else 0
        version = self._version()
        headers = {}
        if have and version:  # without a version, nobody knows whether the rest is of the same file
            headers = {"Range": f"bytes={have}-", "If-Range": version}
        with open_url(self.url, headers=headers, timeout_s=self.timeout_s) as response:
            resumed = response.status == _PARTIAL_CONTENT
            if not resumed:
                self._remember(response.headers)
            self._append(response, "ab" if resumed else "wb")

    def _append(self, response: Any, mode: str) -> None:
        announced = response.headers.get("Content-Length")
        received = 0
        with open(self.path, mode) as file:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                received += len(chunk)
            _flush_to_disk(file)
        if announced is not None and received < int(announced):
            raise EOFError(f"the connection ended after {received} of {announced} bytes")

    def _version(self) -> str | None:
        try:
            url, _, version = Path(self._version_path).read_text(encoding="utf-8").partition("\n")
        except FileNotFoundError:
            return None
        return version if url == self.url else None

    def _remember(self, headers: Any) -> None:
        tag = headers.get("ETag")
        # A weak tag promises the same meaning, not the same bytes.
        version = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")
        if version:
            Path(self._version_path).write_text(f"{self.url}\n{version}", encoding="utf-8")
        else:
            Path(self._version_path).unlink(missing_ok=True)

    def _forget(self) -> None:
        for path in (self.path, self._version_path):
            Path(path).unlink(missing_ok=True)


def _flush_to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
