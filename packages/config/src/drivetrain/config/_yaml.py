"""YAML as configs mean it: safe types, ``1e-3`` is a number, a key stands once.

This module imports PyYAML, a third of what importing this package would take; it is imported only
where YAML is read or written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from drivetrain.config._errors import ConfigParseError, DuplicateKeyError
from drivetrain.config._sources import deepest_line
from drivetrain.config._templates import Marks

# YAML 1.1 asks for a dot in a float, and reads 1e-3 as a string; JSON, Python and YAML 1.2 do not.
_EXPONENT = re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$")
_FLOAT = "tag:yaml.org,2002:float"
_TEXT = "tag:yaml.org,2002:str"


def load_yaml(text: str, filename: str, marks: Marks, *, fast: bool) -> Any:
    """What a YAML text says.

    Args:
        text: The text, with marks instead of templates.
        filename: For errors.
        marks: What made the marks.
        fast: Whether to use the parser in C, which is recursive in C: not for text that may be
            nested on purpose.

    Raises:
        ConfigParseError: If it is not valid YAML.
        DuplicateKeyError: If a mapping has a key twice.
    """
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if fast else yaml.SafeLoader
    # A class of its own, because resolvers and constructors are registered on the class.
    loader_type: Any = type("ConfigLoader", (base,), {})
    loader_type.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))

    def construct_text(loader: Any, node: Any) -> str:
        value = loader.construct_scalar(node)
        # Tells a quoted template (text) from a bare one (value).
        return marks.as_text(value) if node.style else value  # "" or None: bare

    loader_type.add_constructor(_TEXT, construct_text)
    try:
        loader, node = loader_type(text), None
        try:
            node = loader.get_single_node()
            require_single_keys(node, filename)
            return None if node is None else loader.construct_document(node)
        except ValueError as err:  # a month 13
            line = _line_of_bad_scalar(loader, node)
            message = f"not usable YAML: {err}"
            raise ConfigParseError(message, filename=filename, lineno=line) from err
        finally:
            loader.dispose()
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        problem = getattr(err, "problem", None) or str(err)
        raise ConfigParseError(
            f"not valid YAML: {problem}",
            filename=filename,
            lineno=None if mark is None else mark.line + 1,
        ) from err
    except RecursionError as err:
        line = deepest_line(text)
        raise ConfigParseError("nested too deeply", filename=filename, lineno=line) from err


def _line_of_bad_scalar(loader: Any, root: Any) -> int | None:
    """Line of the value that cannot be built."""
    for node in _nodes_below(root):
        if isinstance(node, yaml.ScalarNode):
            try:
                loader.construct_object(node)
            except ValueError:
                return node.start_mark.line + 1
    return None


def _nodes_below(root: Any) -> Iterator[Any]:
    """Each node once, though aliases lead to it twice; mappings give keys and values."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def require_single_keys(root: Any, filename: str) -> None:
    """Check that no mapping below ``root`` has a key twice: one of the values would be lost.

    Raises:
        DuplicateKeyError: If one has; the line is named.
    """
    for node in _nodes_below(root):
        if not isinstance(node, yaml.MappingNode):
            continue
        keys: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                continue
            if (key.tag, key.value) in keys:
                raise DuplicateKeyError(
                    f"key {key.value!r} stands twice in one mapping",
                    filename=filename,
                    lineno=key.start_mark.line + 1,
                )
            keys.add((key.tag, key.value))


def dump_yaml(data: Any) -> str:
    """YAML text of plain data."""
    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    # Shared values are repeated: an anchor is noise in a config.
    dumper: Any = type("ConfigDumper", (base,), {"ignore_aliases": lambda self, data: True})
    dumper.add_representer(str, _quoted_if_template)
    dumper.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+.0123456789"))
    return yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True)


def _quoted_if_template(dumper: Any, text: str) -> Any:
    """Text with two braces in double quotes, where one of them can be escaped."""
    style = '"' if "{{" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def compose(text: str) -> Any:
    """The tree of nodes of a YAML text, with their lines; ``None`` if it is not valid."""
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return None
