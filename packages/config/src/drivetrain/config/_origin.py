"""Where a value of a config comes from.

Nothing is recorded while a config loads beyond the files themselves. The chain of a value is worked
out when somebody asks, by reading those files again as syntax.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from drivetrain.config._arguments import require_dotted_path
from drivetrain.config._custom_imports import IMPORTS_KEY, imports_of
from drivetrain.config._errors import Place
from drivetrain.config._merge import DELETE_KEY
from drivetrain.config._overrides import nested, split_path, unknown_path
from drivetrain.config._python_file import BASE_KEY
from drivetrain.config._sources import Source

Lines = tuple[int, int]
Change = tuple[str, Any, str]


class Origin(NamedTuple):
    """One place that gave a value to a path.

    Attributes:
        kind: A file, an override (command line, ``merge_from_dict``), or the program.
        value: What it said.
        filename: The file, if it is one.
        lineno: The line in it, if it can be told.
        how: By what means: ``""`` for plain text, else an environment variable, the command line...
    """

    kind: Literal["file", "override", "program"]
    value: Any
    filename: str | None = None
    lineno: int | None = None
    how: str = ""

    def __str__(self) -> str:
        place = self.how or "the program"
        if self.filename is not None:
            place = self.filename if self.lineno is None else f"{self.filename}:{self.lineno}"
            place += f" ({self.how})" if self.how else ""
        return place


def find_origins(
    content: dict[Any, Any],
    source: Source | None,
    changes: Sequence[Change],
    environment: dict[str, str],
    path: str,
) -> tuple[Origin, ...]:
    """The chain of ``path``: what holds now first, then what each replaced.

    Raises:
        UnknownKeyError: If the config has no such path.
    """
    require_dotted_path(path)
    parts = split_path(path)
    found, current = lookup(content, parts)
    if not found:
        raise unknown_path(content, path)
    chain: list[Origin] = []
    if source is not None and parts[:-1] == [IMPORTS_KEY, "imports"]:
        _follow_added_import(source, current, chain)
    elif source is not None:
        _follow_files(source, parts, environment, chain)
    for change in changes:
        _follow_change(change, parts, chain)
    if not chain or (_is_leaf(current) and not _same(current, chain[-1].value)):
        chain.append(Origin("program", current))
    return tuple(reversed(chain))


def place_in_files(source: Source, parts: Sequence[str]) -> Place:
    """The last file of a chain that says something about a path, and its line there."""
    chain: list[Origin] = []
    _follow_files(source, list(parts), {}, chain)
    return (chain[-1].filename, chain[-1].lineno) if chain else (source.path, None)


def lookup(node: Any, parts: Sequence[str]) -> tuple[bool, Any]:
    """Whether a nest of dicts and lists has a path, and its value."""
    for part in parts:
        if isinstance(node, dict):
            key = part if part in node else _as_int(part)
            if key not in node:
                return False, None
            node = dict.__getitem__(node, key)
        elif isinstance(node, (list, tuple)):
            index = _as_int(part)
            if not isinstance(index, int) or not -len(node) <= index < len(node):
                return False, None
            node = node[index]
        else:
            return False, None
    return True, node


def _as_int(part: str) -> Any:
    try:
        return int(part)
    except ValueError:
        return part


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, (dict, list, tuple))


def _same(value: Any, other: Any) -> bool:
    try:
        return value is other or bool(value == other)
    except Exception:  # a value of the program may not compare: an array, say
        return False


def _follow_files(
    source: Source, parts: list[str], environment: dict[str, str], chain: list[Origin]
) -> None:
    """Append what ``source`` and its bases said about a path, oldest first."""
    for base, inherited in _inherited_paths(source, parts):
        _follow_files(base, inherited, environment, chain)
    said, value = lookup(source.data, parts)
    if not said:
        said, value = lookup(source.edits, parts)
    if not said:
        if _cuts_off(source.data, parts):
            chain.clear()
        return
    lines = locate(source, parts)
    if source.style == "pure" and lines is None and chain:
        return  # the file has it from its base, untouched
    if _deletes(source.data, parts):
        chain.clear()
    how = _environment_used(source, lines, environment)
    chain.append(Origin("file", value, source.path, lines[0] if lines else None, how))


def _follow_added_import(source: Source, name: Any, chain: list[Origin]) -> None:
    """Append each file that asks for a module: the lists of a chain of files add up."""
    for each in source.walk():
        said = each.data.get(IMPORTS_KEY)
        names = imports_of(said)[0] if said else []
        if name in names:
            parts = [IMPORTS_KEY, "imports", str(names.index(name))]
            lines = locate(each, parts) or locate(each, parts[:-1])
            chain.append(Origin("file", name, each.path, lines[0] if lines else None))


def _inherited_paths(source: Source, parts: list[str]) -> Iterator[tuple[Source, list[str]]]:
    """The bases that a file has a path from, and the path's name there."""
    if source.style != "pure":
        for base in source.bases:
            yield base, parts
        return
    names = _syntax_of(source).names_imported()
    for lineno, index in source.imports:
        renamed = names[lineno].pop(0) if names.get(lineno) else {}
        name = renamed.get(parts[0], parts[0] if "*" in renamed else None)
        if name is not None:
            yield source.bases[index], [name, *parts[1:]]


def _cuts_off(data: dict[Any, Any], parts: list[str]) -> bool:
    """Whether ``data``, which has no such path, replaces something above it."""
    node: Any = data
    for part in parts:
        if not isinstance(node, dict) or dict.get(node, DELETE_KEY):
            return True
        if part not in node:
            return False
        node = dict.__getitem__(node, part)
    return False


def _deletes(data: dict[Any, Any], parts: list[str]) -> bool:
    """Whether a dict on the way to a path carries ``_delete_``."""
    node: Any = data
    for part in parts:
        if not isinstance(node, dict) or dict.get(node, DELETE_KEY):
            break
        node = dict.get(node, part)
    return isinstance(node, dict) and bool(dict.get(node, DELETE_KEY))


def _environment_used(source: Source, lines: Lines | None, environment: dict[str, str]) -> str:
    if lines is None:
        return ""
    for template in source.templates:
        if template.kind == "env" and lines[0] <= template.lineno <= lines[1]:
            state = "" if template.name in environment else "default of "
            return f"{state}environment variable {template.name}"
    return ""


def _follow_change(change: Change, parts: list[str], chain: list[Origin]) -> None:
    path, value, how = change
    changed = split_path(path)
    is_above = parts[: len(changed)] == changed
    tree = nested({path: value})
    said, value = lookup(tree, parts)
    if not said:
        if is_above and _cuts_off(tree, parts):
            chain.clear()
        return
    if not is_above:
        return  # it changed something below the path
    chain.append(Origin("override", value, how=how))


# Lines ------------------------------------------------------------------------------------------


def locate(source: Source, parts: Sequence[str]) -> Lines | None:
    """First and last line of what a file says about a path, if it says something."""
    return _syntax_of(source).find(list(parts))


def _syntax_of(source: Source) -> Any:
    if source.syntax is None:
        source.syntax = _python_syntax(source) if source.format == "py" else _data_syntax(source)
    return source.syntax


def _python_syntax(source: Source) -> _Locator:
    try:
        return _Locator(ast.parse(source.code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _Locator(ast.Module([], []))


def _data_syntax(source: Source) -> _DataLocator:
    from drivetrain.config._yaml import compose  # slow to import

    # JSON is YAML once its tabs are spaces.
    text = source.code.replace("\t", " ") if source.format == "json" else source.code
    return _DataLocator(compose(text))


class _DataLocator:
    """Finds the lines of a YAML or JSON config that give a value to a path."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def find(self, parts: list[str]) -> Lines | None:
        """Lines of the value under a path; of two equal keys the last one counts."""
        node, line = self._root, None
        for part in parts:
            content = getattr(node, "value", None)
            if not isinstance(content, list):
                return None
            if content and isinstance(content[0], tuple):
                pairs = [pair for pair in content if str(pair[0].value) == part]
                if not pairs:
                    return None
                line, node = pairs[-1][0].start_mark.line, pairs[-1][1]
            elif part.lstrip("-").isdigit() and -len(content) <= int(part) < len(content):
                node = content[int(part)]
                line = node.start_mark.line
            else:
                return None
        return None if line is None else (line + 1, node.end_mark.line + 1)


class _Locator:
    """Finds the lines of a Python config that give a value to a path."""

    def __init__(self, tree: ast.Module) -> None:
        self._imports = [each for each in _statements(tree) if isinstance(each, ast.ImportFrom)]
        self._effects = [
            (statement.lineno, *effect)
            for statement in _statements(tree)
            for effect in _effects(statement)
        ]

    def find(self, parts: list[str], before: int | None = None) -> Lines | None:
        """The last statement about a path wins, as it does when the file runs."""
        result = None
        for lineno, target, value, is_partial in self._effects:
            if before is not None and lineno >= before:
                break
            if target != parts[: len(target)]:
                continue
            lines = self._descend(value, parts[len(target) :], is_partial)
            result = lines or result
        return result

    def names_imported(self) -> dict[int, list[dict[str, str]]]:
        """By line, for each ``from ... import``: the name here of each name there; ``*`` is all."""
        names: dict[int, list[dict[str, str]]] = {}
        for statement in self._imports:
            renamed = {alias.asname or alias.name: alias.name for alias in statement.names}
            names.setdefault(statement.lineno, []).append(renamed)
        return names

    def _descend(self, node: ast.AST, parts: list[str], is_partial: bool) -> Lines | None:
        """Lines of the part of an expression that a path leads to."""
        if not parts:
            return None if is_partial else _lines(node)
        element = _element(node, parts[0])
        if element is not None:
            stays = is_partial and _is_literal_container(element)  # update goes into dicts
            lines = self._descend(element, parts[1:], stays and bool(parts[1:]))
            return lines if stays else lines or _lines(element)
        if isinstance(node, ast.Name) and not is_partial:
            return self.find([node.id, *parts], before=node.lineno) or _lines(node)
        if is_partial or _is_literal_container(node):
            return None
        return _lines(node)


def _statements(tree: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(node, ast.stmt):
            yield node
        if isinstance(node, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield from _statements(node)


def _effects(statement: ast.stmt) -> Iterator[tuple[list[str], ast.AST, bool]]:
    """Path, value and whether other keys stay, for each thing that a statement sets."""
    for path, value, is_partial in _settings(statement):
        in_bases = path[0] == BASE_KEY and len(path) > 1  # _base_.model.depth = 18
        yield path[1:] if in_bases else path, value, is_partial


def _settings(statement: ast.stmt) -> Iterator[tuple[list[str], ast.AST, bool]]:
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            if path := _path_of(target):
                yield path, statement.value, False
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        path = _path_of(statement.target)
        if path and statement.value is not None:
            yield path, statement.value, False
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        call = statement.value
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("update", "merge"):
            path = _path_of(call.func.value)
            for argument in call.args if path else ():
                yield path, argument, True
            if path and call.keywords:
                yield path, call, True


def _path_of(node: ast.AST) -> list[str]:
    """``a['b'].c`` as ``["a", "b", "c"]``; empty if it is computed."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        owner, key = _path_of(node.value), node.attr
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        owner, key = _path_of(node.value), str(node.slice.value)
    else:
        return []
    return [*owner, key] if owner else []


def _element(node: ast.AST, part: str) -> ast.AST | None:
    """The element of a display, or the keyword of a call, that ``part`` names."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and str(key.value) == part:
                return value
    elif isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg == part:
                return keyword.value
        if len(node.args) == 1 and _is_dict_call(node):
            return _element(node.args[0], part)
    elif isinstance(node, (ast.List, ast.Tuple)) and part.lstrip("-").isdigit():
        if any(isinstance(element, ast.Starred) for element in node.elts):
            return None
        if -len(node.elts) <= int(part) < len(node.elts):
            return node.elts[int(part)]
    return None


def _is_dict_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict"


def _is_literal_container(node: ast.AST) -> bool:
    if isinstance(node, ast.Dict):
        return None not in node.keys
    if _is_dict_call(node):
        assert isinstance(node, ast.Call)  # seen by _is_dict_call
        return not node.args and all(keyword.arg for keyword in node.keywords)
    return isinstance(node, (ast.List, ast.Tuple)) and not any(
        isinstance(element, ast.Starred) for element in node.elts
    )


def _lines(node: ast.AST) -> Lines:
    first = getattr(node, "lineno", 0)
    return first, getattr(node, "end_lineno", None) or first
