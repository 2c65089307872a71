"""``Config``: the content of config files, with the text and files that it came from."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from drivetrain.config._arguments import path_text, require_content, require_options, require_text
from drivetrain.config._assembly import RESERVED_KEYS, assemble, refuse_reserved, reserved
from drivetrain.config._compare import digest_of, unified_diff
from drivetrain.config._configdict import ConfigDict, mark
from drivetrain.config._custom_imports import IMPORTS_KEY
from drivetrain.config._dump import to_text, write_whole
from drivetrain.config._errors import (
    ConfigError,
    DumpError,
    Place,
    ReservedKeyError,
    UnknownKeyError,
)
from drivetrain.config._loader import Loader
from drivetrain.config._merge import merge_dicts
from drivetrain.config._node_place import line_of_paths
from drivetrain.config._origin import Origin, find_origins, lookup
from drivetrain.config._overrides import nested, require_known, split_path
from drivetrain.config._printer import to_python
from drivetrain.config._safe import refuse_imports
from drivetrain.config._sources import Format, Source, format_of, format_of_name, read_text
from drivetrain.config._surroundings import restored_on_failure

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from pathlib import Path

_SLOTS = ("_cfg_dict", "_filename", "_text", "_env_variables", "_source", "_changes")


class Config(MutableMapping[Any, Any]):
    """What one or more config files say; keys are read and written as items or attributes.

    Args:
        cfg_dict: The content; a ``ConfigDict`` is kept, another dict is copied.
        cfg_text: Text that the content was read from.
        filename: File that the content was read from.
        env_variables: Environment variables that the content depends on.
        format_python_code: Accepted for compatibility; ``pretty_text`` is always formatted.

    Raises:
        ArgumentTypeError: If ``cfg_dict`` is no dict.
        ReservedKeyError: If it has a key that is an attribute of this class.

    Example:
        >>> cfg = Config(dict(a=1, b=dict(b1=[0, 1])))
        >>> cfg.b.b1
        [0, 1]
        >>> cfg["a"] = 2
        >>> cfg
        Config (path: None): {'a': 2, 'b': {'b1': [0, 1]}}
    """

    __slots__ = (*_SLOTS, "__weakref__")
    __hash__ = None  # type: ignore[assignment]  # mutable, and equal by content

    _cfg_dict: ConfigDict
    _filename: str | None
    _text: str
    _env_variables: dict[str, str]
    _source: Source | None
    _changes: list[tuple[str, Any, str]]

    def __init__(
        self,
        cfg_dict: Mapping[Any, Any] | None = None,
        cfg_text: str | None = None,
        filename: str | Path | None = None,
        env_variables: dict[str, str] | None = None,
        format_python_code: bool = True,
    ) -> None:
        content: Any = {} if cfg_dict is None else cfg_dict
        require_content(content)
        if isinstance(content, Config):
            content = content._cfg_dict
        node = content if isinstance(content, ConfigDict) else ConfigDict(content)
        name = None if filename is None else str(filename)
        refuse_reserved(node, filename=name)
        text = cfg_text
        if text is None:
            text = "" if name is None else read_text(name)
        _set_slots(self, node, name, text, dict(env_variables or {}), None, [])

    @staticmethod
    def fromfile(
        filename: str | Path,
        use_predefined_variables: bool = True,
        import_custom_modules: bool = True,
        use_environment_variables: bool = True,
        lazy_import: bool | None = None,
        format_python_code: bool = True,
        *,
        safe: bool = False,
        safe_root: str | Path | None = None,
    ) -> Config:
        """Load a config file with everything that it inherits from.

        Args:
            filename: A ``.py``, ``.json``, ``.yaml`` or ``.yml`` file, or ``package::path``.
            use_predefined_variables: Whether ``{{ fileDirname }}`` and its kin are replaced.
            import_custom_modules: Whether the modules in ``custom_imports`` are imported.
            use_environment_variables: Whether ``{{$NAME:default}}`` is replaced.
            lazy_import: ``True`` for a pure Python file, ``False`` for a text-style one, ``None``
                to see it from the file.
            format_python_code: Accepted for compatibility; ``pretty_text`` is always formatted.
            safe: Whether the file comes from somebody who is not trusted: then it is read as data
                (literals, references, arithmetic), and anything else in it is refused.
            safe_root: With ``safe``, the folder that all files must be in; the one of the file if
                not given.

        Raises:
            ConfigError: If anything about the file is wrong; see the tree in ``_errors``.

        Example:
            >>> import pathlib, tempfile
            >>> path = pathlib.Path(tempfile.mkdtemp(), "sgd.py")
            >>> _ = path.write_text("optimizer = dict(type='SGD', lr=0.1)")
            >>> Config.fromfile(path).optimizer.lr
            0.1
        """
        name = path_text(filename, "the name of a config file")
        if safe and safe_root is None:
            safe_root = os.path.dirname(os.path.abspath(name))
        loader = Loader(
            use_predefined_variables=use_predefined_variables,
            use_environment_variables=use_environment_variables,
            lazy_import=lazy_import,
            safe_root=os.fspath(safe_root) if safe and safe_root is not None else None,
        )
        with restored_on_failure():
            data, source = loader.load_file(name)
            if safe and import_custom_modules and IMPORTS_KEY in data:
                refuse_imports(*line_of_paths(source, [[IMPORTS_KEY]]))
            node = assemble(data, source, import_modules=import_custom_modules)
        text = source.full_text()
        return _rebuild_config(node, name, text, loader.env_variables, source, [])

    @staticmethod
    def fromstring(cfg_str: str, file_format: str, *, import_custom_modules: bool = True) -> Config:
        """Load a config from text; relative bases are looked up in the working directory.

        Args:
            cfg_str: The text.
            file_format: ``py``, ``json``, ``yaml`` or ``yml``, with or without a dot.
            import_custom_modules: Whether the modules in ``custom_imports`` are imported.

        Raises:
            ConfigError: If anything about the text is wrong.

        Example:
            >>> Config.fromstring("optimizer: {type: SGD, lr: 0.1}", "yaml").optimizer.lr
            0.1
        """
        require_text(cfg_str)
        loader = Loader()
        with restored_on_failure():
            data, source = loader.load_text(cfg_str, format_of_name(file_format), "<string>")
            node = assemble(data, source, import_modules=import_custom_modules)
        text = source.full_text()
        return _rebuild_config(node, None, text, loader.env_variables, source, [])

    @staticmethod
    def auto_argparser(description: str | None = None) -> tuple[ArgumentParser, Config]:
        """A parser with one option for each key of the config that the command line names.

        Args:
            description: Of the program.

        Returns:
            The parser, and the config named by the first positional argument.
        """
        # argparse is slow to import, and most programs parse in their own way.
        from drivetrain.config._argparse import add_options, config_parser

        known, _ = config_parser(description, add_help=False).parse_known_args()
        cfg = Config.fromfile(known.config)
        parser = config_parser(description)
        add_options(parser, cfg._cfg_dict)
        return parser, cfg

    @property
    def filename(self) -> str | None:
        """Path of the file, as it was given."""
        return self._filename

    @property
    def text(self) -> str:
        """Text of the file and of all that it inherits from, each under its path."""
        return self._text

    @property
    def env_variables(self) -> dict[str, str]:
        """Environment variables that were set and that the content depends on."""
        return self._env_variables

    @property
    def pretty_text(self) -> str:
        """The content as Python source, formatted and loadable again.

        Values that have no source (a model object, say) are shown as strings, and the first lines
        say so; :meth:`dump` refuses them.
        """
        return to_python(self._cfg_dict, strict=False)

    def dump(self, file: str | Path | None = None, *, strict: bool = True) -> str | None:
        """Write the content to a file, or give it as text.

        Args:
            file: Path ending in ``.py``, ``.json``, ``.yaml`` or ``.yml``; ``None`` for text.
            strict: Whether a value that the format cannot hold is an error. If not, it is shown as
                text, in Python as :attr:`pretty_text` shows it.

        Returns:
            Without ``file``: text in the format of :attr:`filename`, Python if there is none.

        Raises:
            DumpError: If the format cannot hold a value.
            UnsupportedFormatError: If the extension is none of the four.
            ConfigWriteError: If the file cannot be written.
        """
        if file is None:
            return self._to_text(format_of(self._filename) if self._filename else "py", strict)
        name = path_text(file, "the file to dump to")
        write_whole(name, self._to_text(format_of(name), strict))
        return None

    def _to_text(self, file_format: Format, strict: bool) -> str:
        try:
            return to_text(self._cfg_dict, file_format, strict=strict)
        except DumpError as err:
            self._place(err)
            raise

    def merge_from_dict(
        self, options: Mapping[str, Any], allow_list_keys: bool = True, strict: bool = False
    ) -> None:
        """Merge options, whose keys may be dotted paths, into the content.

        Args:
            options: What to change.
            allow_list_keys: Whether integer keys edit elements of lists.
            strict: Whether a path that does not exist is an error.

        Raises:
            UnknownKeyError: If ``strict`` and a path does not exist.
            MergeError: If a dict meets a value that is no dict.
            ListIndexError: If an index names no element.

        Example:
            >>> cfg = Config(dict(pipeline=[dict(type="Load"), dict(type="Flip")]))
            >>> cfg.merge_from_dict({"pipeline.0.type": "Read"})
            >>> cfg.pipeline
            [{'type': 'Read'}, {'type': 'Flip'}]
        """
        self._merge(options, "merge_from_dict", allow_list_keys=allow_list_keys, strict=strict)

    def _merge(
        self, options: Mapping[str, Any], origin: str, *, allow_list_keys: bool, strict: bool
    ) -> None:
        require_options(options)
        try:
            if strict:
                require_known(self._cfg_dict, options)
            tree = nested(options)
            merged = ConfigDict(merge_dicts(self._cfg_dict, tree, allow_list_keys=allow_list_keys))
        except ConfigError as err:
            self._place(err)
            raise
        refuse_reserved(merged)
        if self._source is not None:
            mark(merged, self._source)
        object.__setattr__(self, "_cfg_dict", merged)
        self._changes.extend((path, value, origin) for path, value in options.items())

    @staticmethod
    def diff(cfg1: str | Path | Config, cfg2: str | Path | Config) -> str:
        """A unified diff of the pretty text of two configs or config files.

        Args:
            cfg1: The old one.
            cfg2: The new one.

        Example:
            >>> print(Config.diff(Config(dict(lr=1)), Config(dict(lr=2))))
            ---
            +++
            @@ -1 +1 @@
            -lr = 1
            +lr = 2
        """
        old, new = (
            each if isinstance(each, Config) else Config.fromfile(each) for each in (cfg1, cfg2)
        )
        names = old.filename or "", new.filename or ""
        return unified_diff(old.pretty_text, new.pretty_text, *names)

    def digest(self) -> str:
        """SHA-256 of the content: equal for equal configs, whatever the order of their keys.

        Raises:
            DumpError: If a value is neither plain nor a class or function with a name.

        Example:
            >>> Config(dict(a=1, b=2)).digest() == Config(dict(b=2, a=1)).digest()
            True
        """
        try:
            return digest_of(self._cfg_dict)
        except DumpError as err:
            self._place(err)
            raise

    def origin(self, path: str) -> tuple[Origin, ...]:
        """Where the value under a dotted path comes from.

        Args:
            path: Such as ``optim_wrapper.optimizer.lr`` or ``pipeline.0.type``.

        Returns:
            What holds now first, then what each replaced.

        Raises:
            UnknownKeyError: If there is no such path.

        Example:
            >>> cfg = Config.fromstring("lr = 0.1", "py")
            >>> cfg.merge_from_dict({"lr": 0.2})
            >>> [str(origin) for origin in cfg.origin("lr")]
            ['merge_from_dict', '<string>:1']
        """
        try:
            return self._origins(path)
        except UnknownKeyError as err:
            self._place(err)
            raise

    def _origins(self, path: str) -> tuple[Origin, ...]:
        return find_origins(self._cfg_dict, self._source, self._changes, self._env_variables, path)

    def _place(self, err: ConfigError) -> None:
        """Tell ``err``, which is about a path, which file and line it is about."""
        path = getattr(err, "path", "")
        above = [".".join(split_path(path)[:depth]) for depth in range(path.count(".") + 1, 0, -1)]
        err.filename, err.lineno = self._place_of(path, *getattr(err, "nearest", ()), *above)

    def _place_of(self, *paths: str) -> Place:
        """File and line of the first of ``paths`` that is there and that a file set."""
        for path in paths:
            if lookup(self._cfg_dict, split_path(path))[0]:
                for origin in self._origins(path):
                    if origin.lineno is not None:
                        return origin.filename, origin.lineno
        return (self._filename, None) if self._source is None else (self._source.path, 1)

    def to_dict(self) -> dict[Any, Any]:
        """Plain dicts and lists; lazy references become their dotted paths."""
        return self._cfg_dict.to_dict()

    def copy(self) -> Config:
        """A config of its own top level; nested nodes are shared."""
        return _with_content(self, self._cfg_dict.copy())

    def __copy__(self) -> Config:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        result = _with_content(self, self._cfg_dict.__deepcopy__(memo))
        memo[id(self)] = result
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_config, tuple(getattr(self, name) for name in _SLOTS)

    if sys.version_info >= (3, 12) or TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return _content(self)[name]

    else:
        # As in ConfigDict: before 3.12 an attribute that is no attribute costs an exception.
        def __getattribute__(self, name: str) -> Any:
            if name in _ATTRIBUTES:
                return object.__getattribute__(self, name)
            return _content(self)[name]

        def __init_subclass__(cls, **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            if "__getattribute__" not in vars(cls):
                cls.__getattribute__ = _methods_first

    def __setattr__(self, name: str, value: Any) -> None:
        if name in RESERVED_KEYS:
            raise ReservedKeyError(reserved(name))
        if name in _ATTRIBUTES:
            raise ReservedKeyError(
                f"{name!r} is a method of Config and cannot be a key by attribute; "
                f"write cfg[{name!r}] = ..."
            )
        setattr(self._cfg_dict, name, value)

    def __delattr__(self, name: str) -> None:
        del self._cfg_dict[name]

    def __getitem__(self, key: Any) -> Any:
        return self._cfg_dict[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if key in RESERVED_KEYS:
            raise ReservedKeyError(reserved(key))
        self._cfg_dict[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._cfg_dict[key]

    def __contains__(self, key: object) -> bool:
        return key in self._cfg_dict

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cfg_dict)

    def __len__(self) -> int:
        return len(self._cfg_dict)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Config):
            return self._cfg_dict == other._cfg_dict
        return self._cfg_dict == other if isinstance(other, dict) else NotImplemented

    def __repr__(self) -> str:
        return f"Config (path: {self._filename}): {self._cfg_dict!r}"

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *map(str, self._cfg_dict)})

    def get(self, key: Any, default: Any = None) -> Any:
        """Value of ``key``, or ``default``."""
        return self._cfg_dict.get(key, default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Value of ``key``, which is set to ``default`` if it is not there."""
        refuse_reserved({key: default})
        return self._cfg_dict.setdefault(key, default)

    def update(self, /, *args: Any, **kwargs: Any) -> None:
        """Set several keys, going into nested dicts."""
        refuse_reserved(new := ConfigDict(*args, **kwargs))
        self._cfg_dict.update(new)

    def keys(self) -> Any:
        """The keys."""
        return self._cfg_dict.keys()

    def values(self) -> Any:
        """The values."""
        return self._cfg_dict.values()

    def items(self) -> Any:
        """Pairs of key and value."""
        return self._cfg_dict.items()


def _methods_first(self: Config, name: str) -> Any:
    """How attributes of a subclass are found before Python 3.12: it may have more methods."""
    if name not in _ATTRIBUTES and name in _content(self):
        return _content(self)[name]
    if hasattr(type(self), name):
        return object.__getattribute__(self, name)
    return _content(self)[name]


# The slot's own C getter: quicker than an attribute look-up by name.
_content = Config._cfg_dict.__get__
_ATTRIBUTES = frozenset(dir(Config))


def _set_slots(cfg: Config, *values: Any) -> None:
    for name, value in zip(_SLOTS, values, strict=True):
        object.__setattr__(cfg, name, value)
    if cfg._source is not None:
        mark(cfg._cfg_dict, cfg._source)


def _with_content(cfg: Config, node: ConfigDict) -> Config:
    values = [getattr(cfg, name) for name in _SLOTS]
    return _rebuild_config(node, *values[1:-1], list(cfg._changes))


def _rebuild_config(*values: Any) -> Config:
    cfg = Config.__new__(Config)
    _set_slots(cfg, *values)
    return cfg
