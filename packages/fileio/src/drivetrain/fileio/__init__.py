"""One file interface over a disk, HTTP and object stores; load and dump by format."""

from drivetrain.fileio.__about__ import __version__
from drivetrain.fileio._atomic import atomic_write, fsync_directory, remove_stale_temporaries
from drivetrain.fileio._backend import BaseStorageBackend
from drivetrain.fileio._backend_table import get_file_backend, register_backend
from drivetrain.fileio._download import download
from drivetrain.fileio._errors import (
    BackendRegistrationError,
    DigestMismatchError,
    FileIOError,
    LockTimeoutError,
    MissingLibraryError,
    ParseError,
    RemoteNotFoundError,
    RemoteReadError,
    UnknownBackendError,
    UnknownFormatError,
    UnsupportedOperationError,
)
from drivetrain.fileio._file_client import FileClient
from drivetrain.fileio._fsspec import FsspecBackend
from drivetrain.fileio._handlers import (
    BaseFileHandler,
    JsonHandler,
    PickleHandler,
    YamlHandler,
    register_handler,
)
from drivetrain.fileio._http import HTTPBackend
from drivetrain.fileio._lmdb import LmdbBackend
from drivetrain.fileio._local import HardDiskBackend, LocalBackend
from drivetrain.fileio._lock import file_lock
from drivetrain.fileio._memcached import MemcachedBackend
from drivetrain.fileio._object_store import ObjectStoreBackend
from drivetrain.fileio._operations import (
    copy_if_symlink_fails,
    copyfile,
    copyfile_from_local,
    copyfile_to_local,
    copytree,
    copytree_from_local,
    copytree_to_local,
    exists,
    generate_presigned_url,
    get,
    get_local_path,
    get_text,
    isdir,
    isfile,
    join_path,
    list_dir_or_file,
    put,
    put_text,
    remove,
    rmtree,
)
from drivetrain.fileio._parse import dict_from_file, list_from_file
from drivetrain.fileio._paths import (
    check_file_exist,
    find_vcs_root,
    fopen,
    get_git_hash,
    is_abs,
    is_filepath,
    mkdir_or_exist,
    scandir,
    symlink,
)
from drivetrain.fileio._petrel import PetrelBackend
from drivetrain.fileio._serialize import dump, load

__all__ = [
    "BackendRegistrationError",
    "BaseFileHandler",
    "BaseStorageBackend",
    "DigestMismatchError",
    "FileClient",
    "FileIOError",
    "FsspecBackend",
    "HTTPBackend",
    "HardDiskBackend",
    "JsonHandler",
    "LmdbBackend",
    "LocalBackend",
    "LockTimeoutError",
    "MemcachedBackend",
    "MissingLibraryError",
    "ObjectStoreBackend",
    "ParseError",
    "PetrelBackend",
    "PickleHandler",
    "RemoteNotFoundError",
    "RemoteReadError",
    "UnknownBackendError",
    "UnknownFormatError",
    "UnsupportedOperationError",
    "YamlHandler",
    "__version__",
    "atomic_write",
    "check_file_exist",
    "copy_if_symlink_fails",
    "copyfile",
    "copyfile_from_local",
    "copyfile_to_local",
    "copytree",
    "copytree_from_local",
    "copytree_to_local",
    "dict_from_file",
    "download",
    "dump",
    "exists",
    "file_lock",
    "find_vcs_root",
    "fopen",
    "fsync_directory",
    "generate_presigned_url",
    "get",
    "get_file_backend",
    "get_git_hash",
    "get_local_path",
    "get_text",
    "is_abs",
    "is_filepath",
    "isdir",
    "isfile",
    "join_path",
    "list_dir_or_file",
    "list_from_file",
    "load",
    "mkdir_or_exist",
    "put",
    "put_text",
    "register_backend",
    "register_handler",
    "remove",
    "remove_stale_temporaries",
    "rmtree",
    "scandir",
    "symlink",
]
