"""Parsing JSON and YAML configs."""

from __future__ import annotations

import json
from typing import Any

from drivetrain.config._errors import ConfigParseError, DuplicateKeyError, UnsafeConfigError
from drivetrain.config._safe import MAX_ALIASES, MAX_DEPTH
from drivetrain.config._sources import Format, deepest_line
from drivetrain.config._templates import Marks


def parse_data(
    text: str, data_format: Format, filename: str, marks: Marks, *, safe: bool = False
) -> dict[Any, Any]:
    """Content of a JSON or YAML text in which marks stand for templates.

    Args:
        text: With marks instead of templates.
        data_format: JSON or YAML.
        filename: For errors.
        marks: What made the marks.
        safe: Whether to look for bombs before parsing.

    Raises:
        ConfigParseError: If the text is not valid, or its top level is no mapping.
    """
    if data_format == "json":
        data = _parse_json(text, filename)
    else:
        from drivetrain.config._yaml import load_yaml  # slow to import

        if safe:
            _refuse_bombs(text, filename)
        data = load_yaml(text, filename, marks, fast=not safe)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigParseError(
            f"a config is a mapping of keys to values, this file holds a {type(data).__name__}",
            filename=filename,
            lineno=1,
        )
    return data


def _parse_json(text: str, filename: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text, object_pairs_hook=_single_keys)
    except json.JSONDecodeError as err:
        raise ConfigParseError(
            f"not valid JSON: {err.msg} (column {err.colno})", filename=filename, lineno=err.lineno
        ) from err
    except DuplicateKeyError as err:
        from drivetrain.config._yaml import compose, require_single_keys  # slow to import

        # The parser of JSON knows no lines; JSON is YAML once its tabs are spaces.
        require_single_keys(compose(text.replace("\t", " ")), filename)
        err.filename = filename
        raise
    except (RecursionError, ValueError) as err:  # nested too deeply; an endless number
        raise ConfigParseError(
            f"not usable JSON: {err}", filename=filename, lineno=deepest_line(text)
        ) from err


def _single_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DuplicateKeyError(f"key {twice!r} stands twice in one mapping")
    return content


def _refuse_bombs(text: str, filename: str) -> None:
    """Refuse tags, merges of aliases, and nesting or aliases without end, before building anything.

    Raises:
        UnsafeConfigError: If there is one; the line is named.
    """
    import yaml  # a third of this package's import time, and only YAML needs it

    depth = aliases = 0
    try:
        events: Any = yaml.parse(text, Loader=yaml.SafeLoader)
        for event in events:
            line = event.start_mark.line + 1
            tag = getattr(event, "tag", None)
            if tag is not None and tag != "!":
                raise UnsafeConfigError(
                    f"refused, safe=True: the tag {tag!r}", filename=filename, lineno=line
                )
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            aliases += isinstance(event, yaml.AliasEvent)
            if depth > MAX_DEPTH or aliases > MAX_ALIASES:
                what = f"{MAX_DEPTH} levels" if depth > MAX_DEPTH else f"{MAX_ALIASES} aliases"
                raise UnsafeConfigError(
                    f"refused, safe=True: more than {what}", filename=filename, lineno=line
                )
    except yaml.YAMLError:
        return  # parsing proper says what is wrong
