"""Running a Python config, and telling its keys from its helpers."""

from __future__ import annotations

import ast
import builtins
import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from drivetrain.config._errors import (
    ConfigError,
    ConfigExecutionError,
    ConfigImportError,
    ConfigParseError,
    nearest_hint,
    nearest_names,
)
from drivetrain.config._sources import deepest_line

BASE_KEY = "_base_"
_HELPER_TYPES = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
_BINDS_HELPERS = r"(?m)^[^\S\n]*(?:from|import|for|async|with|except|match|case)\b|:="


class Namespace(dict[str, Any]):
    """The globals of a Python config while it runs.

    Assigning ``_base_`` loads the bases on the spot: the next line can use them, and the list
    may be computed.
    """

    def __init__(self, on_base: Callable[[Any, int], Any], content: dict[str, Any]) -> None:
        super().__init__(content)
        self._on_base = on_base

    def __setitem__(self, key: str, value: Any) -> None:
        if key == BASE_KEY:
            # One frame up is the config itself: its line is what an error should name.
            value = self._on_base(value, _line_of_caller())
        dict.__setitem__(self, key, value)


def _line_of_caller() -> int:
    return sys._getframe(2).f_lineno


def compile_config(source: str, filename: str) -> types.CodeType:
    """Compiled config.

    Raises:
        ConfigParseError: If it is not valid Python.
    """
    with _parse_errors(source, filename):
        return compile(source, filename, "exec", dont_inherit=True)


def parse_config(source: str, filename: str) -> ast.Module:
    """Syntax tree of a config.

    Raises:
        ConfigParseError: If it is not valid Python.
    """
    with _parse_errors(source, filename):
        return ast.parse(source, filename)


@contextmanager
def _parse_errors(source: str, filename: str) -> Iterator[None]:
    try:
        yield
    except (SyntaxError, ValueError) as err:  # ValueError: a null byte, before 3.12
        line = getattr(err, "lineno", None)
        if line is None and "\0" in source:
            line = source.count("\n", 0, source.index("\0")) + 1
        text = (getattr(err, "text", None) or "").strip()
        shown = f": {text[:80]}" if text else ""
        reason = getattr(err, "msg", None) or str(err)
        raise ConfigParseError(
            f"not valid Python: {reason}{shown}", filename=filename, lineno=line
        ) from err
    except (RecursionError, MemoryError) as err:
        line = deepest_line(source)
        raise ConfigParseError("nested too deeply", filename=filename, lineno=line) from err


def run_config(code: types.CodeType, namespace: dict[str, Any], filename: str) -> None:
    """Run a compiled config in ``namespace``.

    Raises:
        ConfigExecutionError: If it raises; the line of the config is named.
        ConfigImportError: If what it raises is an ``ImportError``.
    """
    try:
        exec(code, namespace)
    except ConfigError as err:
        if err.filename is None:
            err.filename, err.lineno = filename, line_in_file(err, filename)
        raise
    except (Exception, SystemExit) as err:  # a config that ends the program is a broken one
        _raise_execution_error(err, namespace, filename)


def _raise_execution_error(
    err: BaseException, namespace: dict[str, Any], filename: str
) -> NoReturn:
    kind = ConfigImportError if isinstance(err, ImportError) else ConfigExecutionError
    message = f"{type(err).__name__}: {err}"
    if isinstance(err, NameError) and err.name == BASE_KEY:
        message += "; begin the file with `_base_ = 'file.py'`"
    elif isinstance(err, NameError) and isinstance(getattr(err, "name", None), str):
        known = [key for key in namespace if not key.startswith("__")]
        near = nearest_names(err.name, [*known, *vars(builtins)])
        message += nearest_hint(err.name, near or known)
    raise kind(message, filename=filename, lineno=line_in_file(err, filename)) from err


def line_in_file(err: BaseException, filename: str) -> int | None:
    """Line of ``filename`` at which ``err`` was raised, or from which what raised was called."""
    lineno = None
    traceback = err.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == filename:
            lineno = traceback.tb_lineno
        traceback = traceback.tb_next
    return lineno


def config_keys(namespace: dict[str, Any], source: str, filename: str) -> dict[str, Any]:
    """The keys that a text-style Python config defines: its assignments, nothing that only helps.

    Modules, functions and classes are no keys, nor is a name that only an import, a loop or a
    ``with`` binds.
    """
    helpers: set[str] = set()
    if re.search(_BINDS_HELPERS, source):  # parsing is not free
        names = bound_names(source, filename)
        helpers = names.helping - names.assigned
    return {
        key: value
        for key, value in dict.items(namespace)
        if not key.startswith("__")
        and key != BASE_KEY
        and not isinstance(value, _HELPER_TYPES)
        and key not in helpers
    }


class BoundNames:
    """Names that a Python config binds at module level, by how it binds them.

    Attributes:
        assigned: By ``=`` and its kin: these are keys.
        helping: By imports, definitions, loops, ``with``, ...
        from_bases: By imports under ``with read_base():``.
    """

    def __init__(self) -> None:
        self.assigned: set[str] = set()
        self.helping: set[str] = set()
        self.from_bases: set[str] = set()


def bound_names(source: str, filename: str) -> BoundNames:
    """Names that ``source`` binds at module level."""
    names = BoundNames()
    _collect_names(parse_config(source, filename), names, under_read_base=False)
    return names


def _collect_names(tree: ast.AST, names: BoundNames, *, under_read_base: bool) -> None:
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, (ast.stmt, ast.excepthandler, ast.match_case)):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            imported = {(each.asname or each.name).partition(".")[0] for each in node.names}
            if isinstance(node, ast.ImportFrom) and "*" in imported and not under_read_base:
                imported = _names_behind_star(node.module or "")
            (names.from_bases if under_read_base else names.helping).update(imported)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.helping.add(node.name)
            continue  # what a definition binds inside is its own
        else:
            _collect_statement(node, names)
        _collect_names(node, names, under_read_base=under_read_base or is_read_base(node))


def _names_behind_star(module_name: str) -> set[str]:
    """What ``from module import *`` bound: the file ran, so that the module is there."""
    module = sys.modules.get(module_name)
    public = (name for name in vars(module) if not name.startswith("_")) if module else ()
    return set(getattr(module, "__all__", public))


def _collect_statement(node: ast.AST, names: BoundNames) -> None:
    if isinstance(node, (ast.For, ast.AsyncFor)):
        names.helping.update(_target_names(node.target))
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        for item in node.items:
            names.helping.update(_target_names(item.optional_vars))
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            names.assigned.update(_target_names(target))
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        names.assigned.update(_target_names(node.target))
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.expr, ast.pattern)):
            names.helping.update(_expression_names(child))


def _expression_names(tree: ast.AST) -> Iterator[str]:
    """Names that ``:=`` and the patterns of ``match`` bind."""
    for node in ast.walk(tree):
        if isinstance(node, ast.NamedExpr) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest


def assigned_names(node: ast.AST) -> Iterator[str]:
    """Names that an assignment statement binds."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    for target in targets:
        yield from _target_names(target)


def is_read_base(node: ast.AST) -> bool:
    """Whether ``node`` is ``with read_base():``."""
    return isinstance(node, ast.With) and any(
        isinstance(item.context_expr, ast.Call)
        and isinstance(item.context_expr.func, ast.Name)
        and item.context_expr.func.id == "read_base"
        for item in node.items
    )


def _target_names(target: ast.AST | None) -> Iterator[str]:
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from _target_names(element)
    elif isinstance(target, ast.Starred):
        yield from _target_names(target.value)
