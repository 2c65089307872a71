"""Parsing JSON and YAML configs."""

from __future__ import annotations

import json
from typing import Any

from drivetrain.config._errors import ConfigParseError
from drivetrain.config._sources import Format
from drivetrain.config._templates import Marks


def parse_data(text: str, data_format: Format, filename: str, marks: Marks) -> dict[Any, Any]:
    """Content of a JSON or YAML text, with the marks of templates still in it.

    Raises:
        ConfigParseError: If the text is not valid, or its top level is no mapping.
    """
    if data_format == "json":
        data = _parse_json(marks.in_json(text), filename)
    else:
        data = _parse_yaml(marks.in_yaml(text), filename, marks)
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


def _parse_yaml(text: str, filename: str, marks: Marks) -> Any:
    import yaml  # a third of this package's import time, and only YAML needs it

    fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
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
