"""Text files that are a list or a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from drivetrain.fileio._errors import ParseError
from drivetrain.fileio._file_client import resolve_backend

Key = TypeVar("Key")
Arguments = Mapping[str, Any] | None


def list_from_file(
    filename: str | Path,
    prefix: str = "",
    offset: int = 0,
    max_num: int = 0,
    encoding: str = "utf-8",
    file_client_args: Arguments = None,
    backend_args: Arguments = None,
) -> list[str]:
    """Read a text file as a list of its lines, without line ends.

    Args:
        filename: A path or URL.
        prefix: Put before each line.
        offset: How many lines to skip first.
        max_num: How many lines to read at most; 0 or less reads all.
        encoding: Of the file.
        file_client_args: Deprecated, see ``backend_args``.
        backend_args: Which backend to use, see `get_file_backend`.
    """
    text = resolve_backend(filename, file_client_args, backend_args).get_text(filename, encoding)
    lines = text.split("\n")
    if lines[-1] == "":  # a last line end closes a line, it opens none
        lines.pop()
    stop = offset + max_num if max_num > 0 else None
    return [prefix + line.rstrip("\r") for line in lines[offset:stop]]


def dict_from_file(
    filename: str | Path,
    key_type: Callable[[str], Key] = str,
    encoding: str = "utf-8",
    file_client_args: Arguments = None,
    backend_args: Arguments = None,
) -> dict[Key, str | list[str]]:
    """Read a text file of columns: the first is the key, one more is its value, several are a list.

    Args:
        filename: A path or URL.
        key_type: Applied to each key, for instance ``int``.
        encoding: Of the file.
        file_client_args: Deprecated, see ``backend_args``.
        backend_args: Which backend to use, see `get_file_backend`.

    Raises:
        ParseError: If a line has fewer than two columns.
    """
    lines = list_from_file(
        filename, encoding=encoding, file_client_args=file_client_args, backend_args=backend_args
    )
    table: dict[Key, str | list[str]] = {}
    for number, line in enumerate(lines, start=1):
        columns = line.split()
        if len(columns) < 2:
            raise ParseError(
                f"{filename}, line {number}: a key and at least one value are needed, got {line!r}"
            )
        table[key_type(columns[0])] = columns[1] if len(columns) == 2 else columns[1:]
    return table
