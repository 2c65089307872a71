"""Loading a config file with everything that it inherits from."""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from drivetrain.config._configdict import ConfigDict
from drivetrain.config._custom_imports import IMPORTS_KEY, imports_of, joined_imports
from drivetrain.config._data_file import parse_data
from drivetrain.config._errors import (
    CircularBaseError,
    ConfigError,
    DuplicateKeyError,
    MixedStyleError,
    UnsafeConfigError,
)
from drivetrain.config._inherited import BaseView, Inherited, changes_of
from drivetrain.config._merge import (
    DELETE_KEY,
    merge_dicts,
    without_delete_keys,
    without_delete_keys_in_lists,
)
from drivetrain.config._node_place import line_of_paths
from drivetrain.config._origin import locate
from drivetrain.config._overrides import split_path
from drivetrain.config._pure_python import PureModule, run_pure
from drivetrain.config._python_file import (
    BASE_KEY,
    Namespace,
    assigned_names,
    compile_config,
    config_keys,
    is_read_base,
    run_config,
)
from drivetrain.config._safe import SafeRoot, refuse_environment, require_small
from drivetrain.config._safe_python import evaluate
from drivetrain.config._sources import (
    DEPRECATION_KEY,
    Format,
    Source,
    Style,
    format_of,
    read_text,
    resolve_package_path,
)
from drivetrain.config._templates import Marks, TemplateContext, fill_python

SCOPE_KEY = "_scope_"
_READ_BASE = r"(?m)^[^\S\n]*with\s+read_base\s*\("
_BASE = r"(?m)^_base_\s*[:=]|\{\{\s*_base_\."
_IMPORT = r"(?m)^[^\S\n]*(?:from\s+([\w.]+)\s+import|import\s+([\w.]+))"


class Loader:
    """Loads one config and its bases.

    Args:
        use_predefined_variables: Whether ``{{ fileDirname }}`` and its kin are replaced.
        use_environment_variables: Whether ``{{$NAME:default}}`` is replaced.
        lazy_import: ``True`` for pure Python files, ``False`` for text-style files, ``None`` to see
            it from the file.
        safe_root: Folder of files that are read as data only; ``None`` to run Python files.
    """

    def __init__(
        self,
        *,
        use_predefined_variables: bool = True,
        use_environment_variables: bool = True,
        lazy_import: bool | None = None,
        safe_root: str | None = None,
    ) -> None:
        self._use_predefined_variables = use_predefined_variables
        self._use_environment_variables = use_environment_variables
        self._style: Style | None = None
        if lazy_import is not None:
            self._style = "pure" if lazy_import else "text"
        self._root = None if safe_root is None else SafeRoot(safe_root)
        self._open: list[str] = []
        self.env_variables: dict[str, str] = {}

    def load_file(
        self, path: str, *, asked_by: tuple[str, int | None] | None = None
    ) -> tuple[dict[Any, Any], Source]:
        """Content of a file with its bases merged in, and where it came from.

        Args:
            path: The file, or ``package::path``.
            asked_by: File and line that named it, for errors.
        """
        scope = None
        if self._root is not None:
            self._root.require(path, *(asked_by or (None, None)))
        if "::" in path:
            path, scope = resolve_package_path(path, asked_by=asked_by)
        file_format = format_of(path, asked_by=asked_by)
        with self._opened(path, asked_by):
            text = read_text(path, asked_by=asked_by)
            data, source = self.load_text(text, file_format, path)
        if scope is not None:
            source.scope = scope
            data = with_scope(data, scope)
        return data, source

    def load_text(
        self, text: str, file_format: Format, filename: str
    ) -> tuple[dict[Any, Any], Source]:
        """Content of a text with its bases merged in, and where it came from."""
        source = Source(filename, file_format, text)
        if self._root is not None:
            data = self._load_text_style(source) if file_format == "py" else self._load_data(source)
            _require_small(data, source)
            return data, source
        if file_format == "py":
            source.style = self._style_of(text, filename)
            if source.style == "pure":
                return self._load_pure(source), source
            return self._load_text_style(source), source
        return self._load_data(source), source

    @contextmanager
    def _opened(self, path: str, asked_by: tuple[str, int | None] | None) -> Iterator[None]:
        """Mark ``path`` as being loaded, so that a file that inherits from itself is an error."""
        identity = os.path.realpath(path)
        if identity in self._open:
            filename, lineno = asked_by or (None, None)
            chain = [*self._open[self._open.index(identity) :], identity]
            raise CircularBaseError(
                "inherits from itself: " + " -> ".join(os.path.basename(each) for each in chain),
                filename=filename,
                lineno=lineno,
            )
        self._open.append(identity)
        try:
            yield
        finally:
            self._open.pop()

    def _context(self, source: Source) -> TemplateContext:
        return TemplateContext(
            source.path,
            use_file_variables=self._use_predefined_variables,
            use_environment=self._use_environment_variables,
            refuse_environment=None if self._root is None else refuse_environment,
            used_environment=self.env_variables,
            templates=source.templates,
        )

    # Text style ---------------------------------------------------------------------------------

    def _load_text_style(self, source: Source) -> dict[Any, Any]:
        source.code = fill_python(source.text, self._context(source))
        inherited = Inherited(source.path)
        views: list[BaseView] = []

        def on_base(names: Any, lineno: int) -> Any:
            inherited.data = self._load_bases(names, source, lineno)
            views[:] = [BaseView(inherited.data)]
            return views[0]

        if self._root is not None:
            source.data = evaluate(
                source.code, source.path, on_base, inherited.value, inherited.text
            )
            return self._finish(source, inherited.data)
        namespace = Namespace(
            on_base,
            {
                "__file__": source.path,
                "__name__": "__config__",
                "__base_value__": inherited.value,
                "__base_text__": inherited.text,
            },
        )
        run_config(compile_config(source.code, source.path), namespace, source.path)
        source.data = config_keys(namespace, source.code, source.path)
        source.edits = changes_of(views[0]) if views else {}
        return self._finish(source, inherited.data)

    def _load_data(self, source: Source) -> dict[Any, Any]:
        context = self._context(source)
        marks = Marks(source.text, context)
        fill = marks.in_json if source.format == "json" else marks.in_yaml
        source.code = fill(source.text)
        safe = self._root is not None
        raw = parse_data(source.code, source.format, source.path, marks, safe=safe)
        if safe:
            source.data = raw
            _require_small(raw, source)
        inherited = Inherited(source.path)
        if BASE_KEY in raw:
            names = marks.resolve(raw.pop(BASE_KEY), inherited.value)
            line = _line_of(source.text, BASE_KEY)
            inherited.data = self._load_bases(names, source, line)
        try:
            source.data = marks.resolve(raw, inherited.value)
        except ConfigError as err:
            if err.filename is None:
                err.filename = source.path
            raise
        return self._finish(source, inherited.data)

    def _load_bases(self, names: Any, source: Source, lineno: int | None) -> dict[Any, Any]:
        """The bases that ``names`` lists, merged into one dict."""
        names = [names] if isinstance(names, (str, os.PathLike)) else names
        if not isinstance(names, (list, tuple)) or not all(
            isinstance(name, (str, os.PathLike)) for name in names
        ):
            raise ConfigError(
                f"`{BASE_KEY}` is a path or a list of paths, not {names!r}",
                filename=source.path,
                lineno=lineno,
            )
        if self._style == "pure":
            raise MixedStyleError(_mixed(BASE_KEY), filename=source.path, lineno=lineno)
        self._style = "text"
        merged: dict[Any, Any] = {}
        for each in names:
            name = os.fspath(each)
            path = name if "::" in name else beside(source.path, name)
            data, base = self.load_file(path, asked_by=(source.path, lineno))
            source.bases.append(base)
            self._check_duplicates(merged, data, source, lineno)
            imports = joined_imports(merged, data)
            merged.update(data)
            if imports:
                merged[IMPORTS_KEY] = imports
        return merged

    def _check_duplicates(
        self, merged: dict[Any, Any], data: dict[Any, Any], source: Source, lineno: int | None
    ) -> None:
        twice = [key for key in data if key in merged and key != IMPORTS_KEY]
        if not twice:
            return
        key = twice[0]
        first = next(base for base in source.bases if _defines(base, key))
        second = source.bases[-1]
        more = f" (also {', '.join(map(repr, twice[1:]))})" if len(twice) > 1 else ""
        raise DuplicateKeyError(
            f"key {key!r} is defined by two bases, {first.path} and {second.path}{more}; "
            "bases of one file must not overlap: remove it from one, or chain the files",
            filename=source.path,
            lineno=lineno,
        )

    def _finish(self, source: Source, inherited: dict[Any, Any]) -> dict[Any, Any]:
        """Own content over the inherited one."""
        own = source.data
        try:
            imports_of(own.get(IMPORTS_KEY, {}))
        except ConfigError as err:
            err.filename, err.lineno = line_of_paths(source, [[IMPORTS_KEY]])
            raise
        if DEPRECATION_KEY in own:
            _warn_deprecated(source.path, own.pop(DEPRECATION_KEY))
        if not source.bases:
            return without_delete_keys(own) if _mentions_delete(source) else own
        try:
            marked = _mentions_delete(source)
            merged = merge_dicts(inherited, without_delete_keys_in_lists(own) if marked else own)
        except ConfigError as err:
            if err.filename is None:
                lines = locate(source, split_path(getattr(err, "path", "")))
                err.filename, err.lineno = source.path, lines[0] if lines else None
            raise
        if imports := joined_imports(inherited, own):
            merged[IMPORTS_KEY] = imports
        return merged

    # Pure Python --------------------------------------------------------------------------------

    def _load_pure(self, source: Source) -> dict[Any, Any]:
        self._style = "pure"
        loaded: dict[str, tuple[int, PureModule]] = {}

        def read(path: str, lineno: int) -> PureModule:
            if path not in loaded:
                data, base = self.load_file(path, asked_by=(source.path, lineno))
                if base.style == "text":
                    raise MixedStyleError(_mixed(base.path), filename=source.path, lineno=lineno)
                loaded[path] = len(source.bases), PureModule(base.path, data, base.helpers)
                source.bases.append(base)
            index, module = loaded[path]
            source.imports.append((lineno, index))
            return module

        source.code = fill_python(source.text, self._context(source))
        module = run_pure(source.code, source.path, read)
        source.data, source.helpers = module.values, module.helpers
        if DEPRECATION_KEY in source.data:
            _warn_deprecated(source.path, source.data.pop(DEPRECATION_KEY))
        return source.data

    def _style_of(self, text: str, filename: str) -> Style | None:
        """Style of a Python text: what it shows itself, else that of the chain it is part of."""
        pure = re.search(_READ_BASE, text) if "read_base" in text else None
        based = re.search(_BASE, text) if BASE_KEY in text else None
        if (pure or based) and ("'''" in text or '"""' in text):
            pure, based = _outside_of_strings(text, pure, based)
        if pure and (based or self._style == "text"):
            line = text.count("\n", 0, pure.start()) + 1
            raise MixedStyleError(_mixed("read_base"), filename=filename, lineno=line)
        if based and self._style == "pure":
            line = text.count("\n", 0, based.start()) + 1
            raise MixedStyleError(_mixed(BASE_KEY), filename=filename, lineno=line)
        if pure:
            return "pure"
        if based:
            return "text"
        if self._style is not None:
            return self._style
        return "pure" if _imports_third_party(text) else None


def _outside_of_strings(
    text: str, pure: re.Match[str] | None, based: re.Match[str] | None
) -> tuple[re.Match[str] | None, re.Match[str] | None]:
    """The two signs of style, unless they stand in a docstring only."""
    try:
        nodes = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return (
            pure,
            based,
        )  # templates make it no Python yet; or it never is, and running it says so
    if based and not based[0].startswith("{{"):
        targets = [target for node in nodes for target in assigned_names(node)]
        based = based if BASE_KEY in targets else None
    return (pure if any(map(is_read_base, nodes)) else None), based


def _require_small(data: dict[Any, Any], source: Source) -> None:
    """Check the size of what a stranger's file says, its bases included."""
    try:
        require_small(data, source.path, None)
    except UnsafeConfigError as err:
        large = [key for key in data if _is_large(data[key], source.path)]
        paths = [[str(large[0])]] if large else []
        _, err.lineno = line_of_paths(source, paths)
        if not large and source.bases:
            err.lineno = _line_of(source.text, BASE_KEY)
        raise


def _is_large(value: Any, filename: str) -> bool:
    try:
        require_small(value, filename, None)
    except UnsafeConfigError:
        return True
    return False


def with_scope(data: dict[Any, Any], scope: str) -> dict[Any, Any]:
    """``data`` whose outermost nodes (dicts with ``type``) carry ``_scope_``."""
    return {key: _scoped(value, scope) for key, value in dict.items(data)}


def _scoped(value: Any, scope: str) -> Any:
    if isinstance(value, dict):
        if "type" in value:
            node = ConfigDict(value) if isinstance(value, ConfigDict) else dict(value)
            if dict.get(value, SCOPE_KEY) is None:
                dict.__setitem__(node, SCOPE_KEY, scope)
            return node
        return {key: _scoped(item, scope) for key, item in dict.items(value)}
    if type(value) in (list, tuple):
        return type(value)(_scoped(item, scope) for item in value)
    return value


def beside(path: str, name: str) -> str:
    """``name`` as seen from the folder of the file ``path``."""
    return os.path.normpath(os.path.join(os.path.dirname(path), os.path.expanduser(name)))


def _imports_third_party(text: str) -> bool:
    import sys

    for match in re.finditer(_IMPORT, text):
        name = (match[1] or match[2]).partition(".")[0]
        if name and name not in sys.stdlib_module_names:
            return True
    return False


def _mentions_delete(source: Source) -> bool:
    return DELETE_KEY in source.text or bool(source.templates)


def _defines(source: Source, key: Any) -> bool:
    return key in source.data or any(_defines(base, key) for base in source.bases)


def _line_of(text: str, key: str) -> int | None:
    match = re.search(rf"^[^\w\n]*{re.escape(str(key))}\b", text, re.MULTILINE)
    return None if match is None else text.count("\n", 0, match.end()) + 1


def _mixed(what: str) -> str:
    return (
        f"{what!r} mixes text style (`_base_`, templates) with pure Python style (`read_base`, "
        "lazy imports); one chain of files has one style"
    )


def _warn_deprecated(filename: str, notice: Any) -> None:
    message = f"the config file {filename} is deprecated and will be removed."
    if isinstance(notice, dict):
        if "expected" in notice:
            message += f" Use {notice['expected']} instead."
        if "reference" in notice:
            message += f" More at {notice['reference']}."
    warnings.warn(message, DeprecationWarning, stacklevel=2)
