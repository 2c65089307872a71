"""Load and dump by format, on any backend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO, StringIO
from pathlib import Path
from typing import IO, Any, cast

from drivetrain.fileio._file_client import resolve_backend
from drivetrain.fileio._handlers import handler_for
from drivetrain.fileio._paths import is_filepath

Arguments = Mapping[str, Any] | None


def load(
    file: str | Path | IO[Any],
    file_format: str | None = None,
    file_client_args: Arguments = None,
    backend_args: Arguments = None,
    **kwargs: Any,
) -> Any:
    """Read an object from a JSON, YAML or pickle file, or one with a registered handler.

    Reading a pickle runs code that it names: do so only with files that you trust.

    Args:
        file: A path, a URL, or an open file.
        file_format: Read from the name's ending unless given; an open file needs it.
        file_client_args: Deprecated, see ``backend_args``.
        backend_args: Which backend to use, see `get_file_backend`.
        **kwargs: For the handler.

    Raises:
        UnknownFormatError: If no handler knows the format.
        TypeError: If ``file`` is neither a path nor readable.

    Example:
        >>> dump({"lr": 0.1}, "hyper.json")
        True
        >>> load("hyper.json")
        {'lr': 0.1}
    """
    if is_filepath(file):
        handler = handler_for(file_format or _format_of(file))
        backend = resolve_backend(file, file_client_args, backend_args)
        if handler.str_like:
            with StringIO(backend.get_text(file)) as text:
                return handler.load_from_fileobj(text, **kwargs)
        with BytesIO(backend.get(file)) as content:
            return handler.load_from_fileobj(content, **kwargs)
    if not hasattr(file, "read"):
        raise TypeError(f"load: file must be a path or an open file, got {type(file).__name__}")
    stream = cast("IO[Any]", file)
    handler = handler_for(_required_format("load", file_format))
    return handler.load_from_fileobj(stream, **kwargs)


def dump(
    obj: Any,
    file: str | Path | IO[Any] | None = None,
    file_format: str | None = None,
    file_client_args: Arguments = None,
    backend_args: Arguments = None,
    **kwargs: Any,
) -> str | bytes | bool:
    """Write an object as JSON, YAML, pickle, or a format with a registered handler.

    A file on the disk is replaced as a whole, and missing folders are made.

    Args:
        obj: What to write.
        file: A path, a URL or an open file; without one the text (or bytes) is returned.
        file_format: Read from the name's ending unless given; needed without a name.
        file_client_args: Deprecated, see ``backend_args``.
        backend_args: Which backend to use, see `get_file_backend`.
        **kwargs: For the handler.

    Returns:
        True, or the text or bytes when there is no ``file``.

    Raises:
        UnknownFormatError: If no handler knows the format.
        ValueError: If the format is not given and cannot be read from a name.
    """
    if file is None:
        return handler_for(_required_format("dump", file_format)).dump_to_str(obj, **kwargs)
    if is_filepath(file):
        handler = handler_for(file_format or _format_of(file))
        backend = resolve_backend(file, file_client_args, backend_args)
        if handler.str_like:
            with StringIO() as text:
                handler.dump_to_fileobj(obj, text, **kwargs)
                backend.put_text(text.getvalue(), file)
        else:
            with BytesIO() as content:
                handler.dump_to_fileobj(obj, content, **kwargs)
                backend.put(content.getvalue(), file)
        return True
    if not hasattr(file, "write"):
        raise TypeError(f"dump: file must be a path or an open file, got {type(file).__name__}")
    stream = cast("IO[Any]", file)
    handler_for(_required_format("dump", file_format)).dump_to_fileobj(obj, stream, **kwargs)
    return True


def _format_of(path: str | Path) -> str:
    return os.path.splitext(str(path))[1].lstrip(".").lower()


def _required_format(function: str, file_format: str | None) -> str:
    if file_format is None:
        raise ValueError(
            f"{function}: without a file name the format is unknown; give file_format='json'"
        )
    return file_format
