"""What can go wrong with files.

::

    FileIOError
    ├── UnknownBackendError       (ValueError)          no backend of this name or for this prefix
    ├── UnknownFormatError        (TypeError)           no handler for this file format
    ├── BackendRegistrationError  (ValueError)          a name or prefix is taken
    ├── UnsupportedOperationError (AttributeError)      this backend cannot do that
    ├── MissingLibraryError       (ImportError)         the backend needs a library that is absent
    ├── RemoteNotFoundError       (FileNotFoundError)   the server says that there is no such file
    ├── RemoteReadError           (OSError)             the server or the connection failed
    ├── DigestMismatchError       (ValueError)          a download is not the file that was promised
    ├── LockTimeoutError          (TimeoutError)        somebody else holds the lock
    └── ParseError                (ValueError)          a line of a text file does not fit
"""

from __future__ import annotations


class FileIOError(Exception):
    """Root of the errors that this package raises on its own account."""


class UnknownBackendError(FileIOError, ValueError):
    """No backend is registered under this name or for this URL prefix."""


class UnknownFormatError(FileIOError, TypeError):
    """No handler is registered for this file format."""


class BackendRegistrationError(FileIOError, ValueError):
    """A backend name, prefix or file format is taken; ``force=True`` replaces it."""


class UnsupportedOperationError(FileIOError, AttributeError):
    """The backend does not offer this operation (``hasattr`` on it answers False)."""


class MissingLibraryError(FileIOError, ImportError):
    """A backend needs a third-party library that is not installed."""


class RemoteNotFoundError(FileIOError, FileNotFoundError):
    """The server answered that this file does not exist."""


class RemoteReadError(FileIOError, OSError):
    """The server refused, or the connection broke."""


class DigestMismatchError(FileIOError, ValueError):
    """The bytes that came do not have the checksum that was promised."""


class LockTimeoutError(FileIOError, TimeoutError):
    """Another process holds the lock for longer than the caller wants to wait."""


class ParseError(FileIOError, ValueError):
    """A line of a text file does not have the expected form."""
