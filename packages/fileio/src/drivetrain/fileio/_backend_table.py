"""Which backend serves which URL."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, overload

from drivetrain.fileio._backend import BaseStorageBackend
from drivetrain.fileio._errors import BackendRegistrationError, UnknownBackendError
from drivetrain.fileio._fsspec import FsspecBackend, require_fsspec_protocol
from drivetrain.fileio._http import HTTPBackend
from drivetrain.fileio._lmdb import LmdbBackend
from drivetrain.fileio._local import HardDiskBackend, LocalBackend
from drivetrain.fileio._memcached import MemcachedBackend
from drivetrain.fileio._petrel import PetrelBackend

BackendType = TypeVar("BackendType", bound=type[BaseStorageBackend])
Prefixes = str | Sequence[str] | None

_by_name: dict[str, type[BaseStorageBackend]] = {
    "local": LocalBackend,
    "disk": HardDiskBackend,
    "http": HTTPBackend,
    "fsspec": FsspecBackend,
    "lmdb": LmdbBackend,
    "memcached": MemcachedBackend,
    "petrel": PetrelBackend,
}
_by_prefix: dict[str, type[BaseStorageBackend]] = {
    "": LocalBackend,
    "http": HTTPBackend,
    "https": HTTPBackend,
    "petrel": PetrelBackend,
}
_instances: dict[tuple[Any, ...], BaseStorageBackend] = {}


def parse_uri_prefix(uri: str | os.PathLike[str]) -> str:
    """Return what stands before ``://``, or ``""``; of ``cluster:petrel://x`` it is ``petrel``."""
    text = os.fspath(uri)
    return text.split("://", 1)[0].rsplit(":", 1)[-1] if "://" in text else ""


def get_file_backend(
    uri: str | os.PathLike[str] | None = None,
    *,
    backend_args: Mapping[str, Any] | None = None,
    enable_singleton: bool = False,
) -> BaseStorageBackend:
    """Return the backend for a URL.

    ``backend`` in ``backend_args`` names it; otherwise the prefix of ``uri`` decides: none is the
    local disk, a registered prefix its backend, and every other protocol goes to fsspec.

    Args:
        uri: A path or URL.
        backend_args: ``backend`` (a registered name) and arguments for the backend's constructor.
        enable_singleton: Give the same object to calls with the same arguments.

    Raises:
        UnknownBackendError: If no backend has this name or serves this prefix.

    Example:
        >>> get_file_backend("runs/config.py").name
        'LocalBackend'
        >>> get_file_backend("s3://bucket/weights.pth").name
        'FsspecBackend'
    """
    arguments = dict(backend_args or {})
    name = arguments.pop("backend", None)
    if name is not None:
        backend_type = _named(name)
    else:
        backend_type = _serving("" if uri is None else os.fspath(uri))
    if not enable_singleton:
        return backend_type(**arguments)
    key = (backend_type, *sorted((key, repr(value)) for key, value in arguments.items()))
    if key not in _instances:
        _instances[key] = backend_type(**arguments)
    return _instances[key]


@overload
def register_backend(
    name: str, backend: BackendType, force: bool = False, prefixes: Prefixes = None
) -> BackendType: ...
@overload
def register_backend(
    name: str, backend: None = None, force: bool = False, prefixes: Prefixes = None
) -> Callable[[BackendType], BackendType]: ...
def register_backend(
    name: str,
    backend: BackendType | None = None,
    force: bool = False,
    prefixes: Prefixes = None,
) -> BackendType | Callable[[BackendType], BackendType]:
    """Offer a backend under a name and, if given, for URL prefixes. Also a decorator.

    Args:
        name: For ``backend_args=dict(backend=name)``.
        backend: A subclass of `BaseStorageBackend`; left out when used as a decorator.
        force: Replace what has this name or prefix.
        prefixes: URLs that start with one of these and ``://`` go to this backend.

    Raises:
        BackendRegistrationError: If the name or a prefix is taken and ``force`` is False.
        TypeError: If an argument has another type.

    Example:
        >>> @register_backend("archive", prefixes="arc")
        ... class ArchiveBackend(BaseStorageBackend):
        ...     def get(self, filepath):
        ...         return b"..."
        ...
        ...     def get_text(self, filepath, encoding="utf-8"):
        ...         return "..."
    """
    if not isinstance(name, str):
        raise TypeError(f"register_backend: name must be a string, got {type(name).__name__}")

    def register(candidate: BackendType) -> BackendType:
        _register(name, candidate, force, _prefix_tuple(prefixes))
        return candidate

    return register if backend is None else register(backend)


def _register(
    name: str, backend: type[BaseStorageBackend], force: bool, prefixes: tuple[str, ...]
) -> None:
    if not isinstance(backend, type) or not issubclass(backend, BaseStorageBackend):
        raise TypeError(f"register_backend: {backend!r} must be a subclass of BaseStorageBackend")
    if not force:
        if name in _by_name:
            raise BackendRegistrationError(
                f"the name {name!r} belongs to {_by_name[name].__name__}; force=True replaces it"
            )
        for prefix in prefixes:
            if prefix in _by_prefix:
                raise BackendRegistrationError(
                    f"the prefix {prefix!r} belongs to {_by_prefix[prefix].__name__}; "
                    "force=True replaces it"
                )
    _by_name[name] = backend
    _by_prefix.update(dict.fromkeys(prefixes, backend))
    _instances.clear()


def _prefix_tuple(prefixes: Prefixes) -> tuple[str, ...]:
    if prefixes is None:
        return ()
    return (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)


def _named(name: str) -> type[BaseStorageBackend]:
    if name not in _by_name:
        near = difflib.get_close_matches(str(name), _by_name, n=1)
        hint = f"  Did you mean:  {near[0]!r}\n" if near else ""
        raise UnknownBackendError(
            f"no storage backend is named {name!r}\n{hint}"
            f"  Registered:    {', '.join(sorted(_by_name))}"
        )
    return _by_name[name]


def _serving(uri: str) -> type[BaseStorageBackend]:
    prefix = parse_uri_prefix(uri)
    if prefix in _by_prefix:
        return _by_prefix[prefix]
    require_fsspec_protocol(prefix, sorted(_by_prefix))
    return FsspecBackend
