"""Parsing JSON and YAML configs."""

from __future__ import annotations

import json
from typing import Any

from drivetrain.config._errors import ConfigParseError, UnsafeConfigError
from drivetrain.config._safe import MAX_ALIASES, MAX_DEPTH
from drivetrain.config._sources import Format
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
        data = _parse_yaml(text, filename, marks, safe)
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
        return json.loads(text)
    except json.JSONDecodeError as err:
        raise ConfigParseError(
            f"not valid JSON: {err.msg} (column {err.colno})", filename=filename, lineno=err.lineno
        ) from err
    except (RecursionError, ValueError) as err:  # nested too deeply; an endless number
        raise ConfigParseError(f"not usable JSON: {err}", filename=filename) from err


def _parse_yaml(text: str, filename: str, marks: Marks, safe: bool) -> Any:
    import yaml  # a third of this package's import time, and only YAML needs it

    if safe:
        _refuse_bombs(text, filename)
    # The loader in C is recursive in C: only for files that may be trusted with the stack.
    fastest: Any = yaml.SafeLoader if safe else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # A class of its own, because a constructor is registered on the class.
    loader_type: Any = type("ConfigLoader", (fastest,), {})

    def construct_text(loader: Any, node: Any) -> str:
        value = loader.construct_scalar(node)
        return marks.as_text(value) if node.style else value  # "" or None: bare

    # Tells a quoted template (text) from a bare one (value).
    loader_type.add_constructor("tag:yaml.org,2002:str", construct_text)
    try:
        return yaml.load(text, loader_type)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        problem = getattr(err, "problem", None) or str(err)
        raise ConfigParseError(
            f"not valid YAML: {problem}",
            filename=filename,
            lineno=None if mark is None else mark.line + 1,
        ) from err
    except (RecursionError, ValueError) as err:  # nested too deeply; a month 13
        raise ConfigParseError(f"not usable YAML: {err}", filename=filename) from err


def _refuse_bombs(text: str, filename: str) -> None:
    """Refuse tags, merges of aliases, and nesting or aliases without end, before building anything.

    Raises:
        UnsafeConfigError: If there is one; the line is named.
    """
    import yaml  # a third of this package's import time, and only YAML needs it

    depth = aliases = 0
    try:
        event: Any
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
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
