"""Config as JSON and YAML text, checked to give the same config back."""

from __future__ import annotations

import math
import os
from typing import Any

from drivetrain.config._errors import (
    ConfigFileNotFoundError,
    ConfigWriteError,
    DumpError,
)
from drivetrain.config._lazy import path_of_object
from drivetrain.config._merge import DELETE_KEY
from drivetrain.config._printer import to_python
from drivetrain.config._python_file import BASE_KEY
from drivetrain.config._sources import DEPRECATION_KEY, Format
from drivetrain.config._templates import without_templates

_ORDER = "no file can hold this key: loading obeys it, and drops it; remove it before dumping"
_PLAIN_TYPES = (str, int, float, bool, type(None))


def to_text(config: dict[Any, Any], file_format: Format, *, strict: bool = True) -> str:
    """``config`` in one of the three formats.

    Args:
        config: The content.
        file_format: The format.
        strict: Whether a value that the format cannot hold is an error, or shown as text.

    Raises:
        DumpError: If ``strict`` and the format cannot hold a value.
    """
    if strict:
        for key in (BASE_KEY, DEPRECATION_KEY):
            if key in config:
                raise DumpError(_ORDER, path=key)
        _refuse_delete_keys(config, "", set())
    if file_format == "py":
        return to_python(config, strict=strict)
    if strict:
        _check(config, file_format, "", set())
        data = _with_dotted_paths(config)
    else:
        data = _shown(config, file_format, set())
    if file_format == "json":
        import json  # only JSON needs it

        text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
        return without_templates(text, "\\u007b")
    from drivetrain.config._yaml import dump_yaml  # slow to import

    try:
        return without_templates(dump_yaml(data), "\\x7b")
    except UnicodeEncodeError as err:
        raise DumpError(f"YAML cannot hold a lone surrogate: {err}") from err


def _refuse_delete_keys(value: Any, path: str, open_ids: set[int]) -> None:
    if not isinstance(value, (dict, list, tuple)) or id(value) in open_ids:
        return
    open_ids.add(id(value))
    for key, item in dict.items(value) if isinstance(value, dict) else enumerate(value):
        here = f"{path}.{key!s}" if path else str(key)
        if key == DELETE_KEY:
            raise DumpError(_ORDER, path=here)
        _refuse_delete_keys(item, here, open_ids)
    open_ids.discard(id(value))


def write_whole(path: str, text: str) -> None:
    """Write a text file that is there whole or not at all.

    Raises:
        DumpError: If the text has lone surrogates, which no file can hold as UTF-8.
        ConfigFileNotFoundError: If its folder is not there.
        ConfigWriteError: If the file cannot be written.
    """
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError as err:
        raise DumpError(f"no UTF-8 file can hold a lone surrogate: {err}") from err
    target = os.path.realpath(path)
    beside = f"{target}.{os.getpid()}.tmp"
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except OSError as err:
        raise _unwritable(path, os.path.dirname(target), err) from err
    finally:
        if os.path.exists(beside):
            os.unlink(beside)


def _unwritable(
    path: str, folder: str, reason: OSError
) -> ConfigFileNotFoundError | ConfigWriteError:
    if not os.path.isdir(folder):
        return ConfigFileNotFoundError(
            f"cannot write {path!r}: there is no folder {folder!r}; make it first", filename=path
        )
    return ConfigWriteError(f"cannot write {path!r}: {reason.strerror or reason}", filename=path)


def _check(value: Any, file_format: Format, path: str, open_ids: set[int]) -> None:
    """Refuse what would come back as something else.

    A tuple is written as a list, since the formats know one kind of sequence, and a class or
    function as its dotted path, from which a registry builds the same.
    """
    if isinstance(value, (dict, list, tuple)):
        if id(value) in open_ids:
            raise DumpError("the value contains itself", path=path)
        open_ids.add(id(value))
        items = dict.items(value) if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            here = f"{path}.{key!s}" if path else str(key)
            if isinstance(value, dict) and not _is_key(key, file_format):
                raise DumpError(f"{file_format} cannot hold the key {key!r}", path=here)
            _check(item, file_format, here, open_ids)
        open_ids.discard(id(value))
    elif isinstance(value, float) and type(value) is float:
        if file_format == "json" and not math.isfinite(value):
            raise DumpError(f"JSON cannot hold {value!r}", path=path)
    elif file_format == "yaml" and type(value).__name__ in ("date", "datetime"):
        return  # what YAML itself reads from 2026-01-31
    elif type(value) not in _PLAIN_TYPES and path_of_object(value) is None:
        raise DumpError(
            f"{file_format} cannot hold {value!r} of type {type(value).__name__}; "
            "dump to .py, or store a plain value",
            path=path,
        )


def _shown(value: Any, file_format: Format, open_ids: set[int]) -> Any:
    """``value`` with whatever the format cannot hold shown as text."""
    if isinstance(value, (dict, list, tuple)):
        if id(value) in open_ids:
            return "..."
        open_ids.add(id(value))
        if isinstance(value, dict):
            result: Any = {
                key if _is_key(key, file_format) else repr(key): _shown(item, file_format, open_ids)
                for key, item in dict.items(value)
            }
        else:
            result = [_shown(item, file_format, open_ids) for item in value]
        open_ids.discard(id(value))
        return result
    try:
        _check(value, file_format, "", set())
    except DumpError:
        return repr(value)
    return _with_dotted_paths(value)


def _with_dotted_paths(value: Any) -> Any:
    """``value`` as builtins; classes, functions and lazy references become dotted paths."""
    if isinstance(value, dict):
        return {key: _with_dotted_paths(item) for key, item in dict.items(value)}
    if isinstance(value, (list, tuple)):
        return [_with_dotted_paths(item) for item in value]
    return value if type(value) in _PLAIN_TYPES else path_of_object(value) or value


def _is_key(key: Any, file_format: Format) -> bool:
    if file_format == "json":
        return type(key) is str
    return type(key) in (str, int, bool, float, type(None))
