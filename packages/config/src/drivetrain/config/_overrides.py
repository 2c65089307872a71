"""Overrides: ``a.b=1`` from a command line, and dotted keys in a dict."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from drivetrain.config._errors import (
    OverrideSyntaxError,
    UnknownKeyError,
    nearest_names,
)
from drivetrain.config._merge import DELETE_KEY

_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_INDEX = re.compile(r"\[(-?\d+)\]")


def parse_value(text: str) -> Any:
    """The value that ``text`` spells on a command line.

    ``1``, ``1e-3``, ``true``, ``None`` are what they look like; ``[a,b]``, ``(a,b)`` and ``{a: b}``
    nest; ``a,b`` is a list; everything else is a string. Quotes force a string.

    Raises:
        OverrideSyntaxError: If brackets or quotes do not match.

    Example:
        >>> parse_value("[(1,2),true,adam]")
        [(1, 2), True, 'adam']
    """
    text = text.strip()
    if _is_quoted(text) and text[1:2] in _BRACKETS and text[-2:-1] == _BRACKETS[text[1]]:
        text = text[1:-1]  # quotes that were meant for the shell
    parts = _split(text, ",")
    if len(parts) > 1:
        if parts[-1] == "":
            parts.pop()  # a trailing comma, as in Python
        return [parse_value(part) for part in parts]
    if text[:1] in _BRACKETS and text[-1:] == _BRACKETS[text[0]]:
        return _parse_bracketed(text)
    return _parse_scalar(text)


def _parse_bracketed(text: str) -> Any:
    parts = _split(text[1:-1], ",")
    if parts[-1].strip() == "":
        parts.pop()
    if text[0] == "{":
        return dict(_parse_pair(part) for part in parts)
    values = [parse_value(part) for part in parts]
    return values if text[0] == "[" else tuple(values)


def _parse_pair(text: str) -> tuple[Any, Any]:
    key, *rest = _split(text, ":")
    if not rest:
        raise OverrideSyntaxError(f"{text!r} is no `key: value` inside {{...}}")
    return _parse_scalar(key.strip()), parse_value(":".join(rest))


def _parse_scalar(text: str) -> Any:
    if _is_quoted(text):
        return text[1:-1]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    if text == "None":  # in small letters it is a word: launcher=none, reduction=none
        return None
    return {"true": True, "false": False}.get(text.lower(), text)


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] in "'\"" and text[0] == text[-1] and text[0] not in text[1:-1]


def _split(text: str, separator: str) -> list[str]:
    """Parts of ``text`` between separators that stand outside of brackets and quotes."""
    parts: list[str] = []
    closing: list[str] = []
    start, quote = 0, ""
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and text[start:index].strip(" [({:,") == "":
            quote = char  # inside a word it is an apostrophe
        elif char in _BRACKETS:
            closing.append(_BRACKETS[char])
        elif char in "])}":
            if not closing or closing.pop() != char:
                raise OverrideSyntaxError(f"unmatched {char!r} in {text!r}")
        elif char == separator and not closing:
            parts.append(text[start:index])
            start = index + 1
    if closing or quote:
        raise OverrideSyntaxError(f"{(quote or closing[-1])!r} is missing in {text!r}")
    return [*parts, text[start:]]


def parse_override(text: str) -> tuple[str, Any]:
    """Dotted key and value of ``key=value``; a leading ``+`` stays with the key.

    Raises:
        OverrideSyntaxError: If it has another form.

    Example:
        >>> parse_override("optim_wrapper.optimizer.lr=0.01")
        ('optim_wrapper.optimizer.lr', 0.01)
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    path = key.removeprefix("+")
    if not equals or path.startswith("+") or not all(path.split(".")):
        raise OverrideSyntaxError(
            f"{text!r} is no override; write key=value, for example optimizer.lr=0.01",
            argument=text,
        )
    try:
        return key, parse_value(value)
    except OverrideSyntaxError as err:
        raise OverrideSyntaxError(f"{text!r}: {err.message}", argument=text) from err
    except RecursionError as err:
        raise OverrideSyntaxError(f"{text[:60]!r}...: nested too deeply", argument=text) from err


def parse_arguments(arguments: Sequence[str]) -> list[tuple[str, Any]]:
    """The same for the arguments of a command line; an error tells which of them it is about."""
    parsed = []
    for position, text in enumerate(arguments, 1):
        try:
            parsed.append(parse_override(text))
        except OverrideSyntaxError as err:
            err.position = position
            if len(arguments) > 1:
                err.message = f"override {position} of {len(arguments)}: {err.message}"
            raise
    return parsed


def split_path(path: str) -> list[str]:
    """Keys and indices of a dotted path; ``hooks[0].type`` is ``hooks.0.type``."""
    return (_INDEX.sub(r".\1", path) if "[" in path else path).split(".")


def nested(options: Mapping[Any, Any]) -> dict[Any, Any]:
    """Dotted keys as nested dicts: ``{"a.b": 1}`` becomes ``{"a": {"b": 1}}``."""
    result: dict[Any, Any] = {}
    for key, value in options.items():
        parts: list[Any] = split_path(key) if isinstance(key, str) else [key]
        node: dict[Any, Any] = result
        for part in parts[:-1]:
            inner = node.get(part)
            # A copy: it may be the caller's own dict, given under a shorter key.
            node[part] = dict(dict.items(inner)) if isinstance(inner, dict) else {}
            node = node[part]
        node[parts[-1]] = value
    return result


def require_known(config: Any, options: Mapping[Any, Any]) -> None:
    """Check that each path of ``options`` exists in ``config``.

    Raises:
        UnknownKeyError: If one does not; it names the nearest that do.
    """
    _require_known(config, config, options, "")


def _require_known(root: Any, node: Any, options: Mapping[Any, Any], prefix: str) -> None:
    for key, value in options.items():
        path = ".".join(split_path(f"{prefix}.{key!s}" if prefix else str(key)))
        found, inner = _find(node, split_path(str(key)))
        if not found:
            raise unknown_path(root, path, remedy=_how_to_add(root, path))
        replaces = not isinstance(value, Mapping) or bool(value.get(DELETE_KEY))
        if not replaces and isinstance(inner, (Mapping, list, tuple)):
            _require_known(root, inner, value, path)


def _how_to_add(root: Any, path: str) -> str:
    """What to write instead of an override of ``path``, which is not there."""
    parts = split_path(path)
    for depth in range(1, len(parts)):
        above, (is_there, node) = ".".join(parts[:depth]), _find(root, parts[:depth])
        if is_there and isinstance(node, (list, tuple)) and not _find(node, [parts[depth]])[0]:
            return f"{above!r} has {len(node)} items; to add one, write {above}=[all of them]"
    return f"To add a new key, write +{path}=..."


def unknown_path(config: Mapping[Any, Any], path: str, remedy: str = "") -> UnknownKeyError:
    """The error for a path that ``config`` does not have."""
    path = ".".join(split_path(path))
    nearest = nearest_paths(config, path)
    hint = " or ".join(repr(each) for each in nearest)
    message = f"the config has no {path!r}" + (f"; did you mean {hint}?" if hint else ".")
    if remedy:
        message += f" {remedy}"
    return UnknownKeyError(message, path=path, nearest=nearest)


def nearest_paths(config: Mapping[Any, Any], path: str, count: int = 3) -> list[str]:
    """Existing paths that look like ``path``, or end like it, the best first."""
    known = [known_path for known_path, _ in leaf_paths(config, inner_nodes=True)]
    near = nearest_names(path, known, count)
    last = path.rpartition(".")[2]
    same_end = [each for each in known if each.rpartition(".")[2] == last and each not in near]
    if not near and not same_end:
        ends = {each.rpartition(".")[2]: each for each in known}
        near = [ends[end] for end in nearest_names(last, ends, count)]
    return [*near, *same_end][:count]


def leaf_paths(
    node: Any, prefix: str = "", *, inner_nodes: bool = False
) -> Iterator[tuple[str, Any]]:
    """Dotted path and value of each leaf of a nest of dicts and lists.

    Args:
        node: Where to start.
        prefix: Path of ``node``.
        inner_nodes: Whether dicts and lists are reported too.
    """
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, dict):
        items = dict.items(node)
    elif isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        yield prefix, node
        return
    empty = True
    for key, value in items:
        empty = False
        path = f"{prefix}.{key!s}" if prefix else str(key)
        if inner_nodes and isinstance(value, (Mapping, list, tuple)) and value:
            yield path, value
        yield from leaf_paths(value, path, inner_nodes=inner_nodes)
    if empty and prefix:
        yield prefix, node


def _find(node: Any, parts: Sequence[str]) -> tuple[bool, Any]:
    """Whether a path exists, and its value; keys are text here, as in an override."""
    for part in parts:
        if isinstance(node, Mapping) and part in node:
            node = dict.__getitem__(node, part) if isinstance(node, dict) else node[part]
        elif isinstance(node, (list, tuple)) and part.lstrip("-").isdigit():
            if not -len(node) <= int(part) < len(node):
                return False, None
            node = node[int(part)]
        else:
            return False, None
    return True, node


def split_additions(overrides: Iterable[str]) -> list[tuple[str, Any, bool]]:
    """Key, value, and whether the key may be new, of each ``key=value`` or ``+key=value``."""
    return [
        (key.removeprefix("+"), value, key.startswith("+"))
        for key, value in parse_arguments(list(overrides))
    ]
