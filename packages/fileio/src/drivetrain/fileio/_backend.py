"""What every storage backend offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from drivetrain.fileio._errors import UnsupportedOperationError

_OPERATIONS = frozenset(
    {
        "put",
        "put_text",
        "exists",
        "isdir",
        "isfile",
        "join_path",
        "get_local_path",
        "copyfile",
        "copytree",
        "copyfile_from_local",
        "copytree_from_local",
        "copyfile_to_local",
        "copytree_to_local",
        "copy_if_symlink_fails",
        "remove",
        "rmtree",
        "list_dir_or_file",
        "generate_presigned_url",
    }
)


class BaseStorageBackend(ABC):
    """A place that stores bytes under names.

    A backend of your own must offer `get` and `get_text`; it may offer any of the other operations
    of `LocalBackend`, with the same signatures. One that it does not offer raises
    `UnsupportedOperationError`.
    """

    @property
    def name(self) -> str:
        """The class's name."""
        return type(self).__name__

    @property
    def allow_symlink(self) -> bool:
        """Whether the place knows symbolic links."""
        return False

    @abstractmethod
    def get(self, filepath: Any) -> Any:
        """Return the content of a file as bytes (or a memoryview)."""

    @abstractmethod
    def get_text(self, filepath: Any, encoding: str = "utf-8") -> str:
        """Return the content of a file as text."""

    def __getattr__(self, name: str) -> Any:
        if name in _OPERATIONS:
            raise UnsupportedOperationError(
                f"{type(self).__name__} cannot {name}.\n"
                f"  It offers: {', '.join(sorted(_offered(type(self))))}"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _offered(backend_type: type) -> set[str]:
    return {name for name in (*_OPERATIONS, "get", "get_text") if hasattr(backend_type, name)}
