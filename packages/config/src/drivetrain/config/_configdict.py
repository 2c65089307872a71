"""A dict whose keys can be read and written as attributes, at the speed of a dict."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from drivetrain.config._errors import MergeError, MissingKeyError, Place, ReservedKeyError
from drivetrain.config._lazy import LazyObject, is_lazy
from drivetrain.config._merge import merge_dicts
from drivetrain.config._node_place import NodePlace, added_by_program, line_of

# Values of these types are shared between copies and never converted.
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, LazyObject})

_fill = dict.update
_put = dict.__setitem__


class ConfigDict(dict[Any, Any]):
    """A dict that the whole of a config is made of.

    Dicts that are put into it become ``ConfigDict`` too, also inside lists and tuples. A key that
    is also the name of a method (``items``, ``copy``, ...) is reached as an item only.

    Args:
        *args: As for ``dict``.
        **kwargs: As for ``dict``.

    Raises:
        MissingKeyError: On reading a key that is not there; it is a ``KeyError`` and an
            ``AttributeError``, and names the nearest keys.

    Example:
        >>> node = ConfigDict(optimizer=dict(type="SGD", lr=0.1))
        >>> node.optimizer.lr
        0.1
        >>> node.optimizer.momentum = 0.9
        >>> node
        {'optimizer': {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}}
    """

    # Attributes are keys: no dict per instance, and a quicker miss.
    __slots__ = ("_place_",)
    _place_: NodePlace

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        self.update(*args, **kwargs)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    elif sys.version_info >= (3, 12):
        # Called only for names that are no attribute. A C slot: no Python frame for a look-up.
        __getattr__ = dict.__getitem__

    else:
        # Before 3.12 every miss first builds an AttributeError (200 ns): look among the keys first.
        def __getattribute__(self, name: str) -> Any:
            if name in _METHOD_NAMES:
                return dict.__getattribute__(self, name)
            return self[name]

        def __init_subclass__(cls, **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            if "__getattribute__" not in vars(cls):
                cls.__getattribute__ = _methods_first

    def __missing__(self, key: Any) -> Any:
        raise MissingKeyError(key, self, partial(_line_in, self))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _METHOD_NAMES:
            raise ReservedKeyError(
                f"{name!r} is a method of ConfigDict and cannot be a key by attribute; "
                f"write cfg[{name!r}] = ..."
            )
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __delitem__(self, key: Any) -> None:
        if key not in self:
            raise MissingKeyError(key, self, partial(_line_in, self))
        dict.__delitem__(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(value) not in _ATOMS:
            value = adopt(value)
            mark_added(value, self)
        _put(self, key, value)
        if is_lazy(value):
            dict.__setattr__(self, "__class__", LazyConfigDict)

    def __dir__(self) -> list[str]:
        names = [key for key in self if isinstance(key, str) and key.isidentifier()]
        return [*names, *object.__dir__(self)]

    def update(self, /, *args: Any, **kwargs: Any) -> None:
        """Set several keys; where both the old and the new value are dicts, the old one is updated.

        Args:
            *args: One mapping, or iterable of pairs.
            **kwargs: More keys.

        Example:
            >>> node = ConfigDict(optimizer=dict(type="SGD", lr=0.1))
            >>> node.update(optimizer=dict(lr=0.2))
            >>> node.optimizer
            {'type': 'SGD', 'lr': 0.2}
        """
        if len(args) > 1:
            raise TypeError(f"update takes one mapping or iterable of pairs, got {len(args)}")
        for key, value in (*(_raw_items(args[0]) if args else ()), *kwargs.items()):
            old = dict.get(self, key) if isinstance(value, dict) else None
            if isinstance(old, ConfigDict):
                old.update(value)
            else:
                self[key] = value

    def merge(self, other: Mapping[str, Any]) -> None:
        """Merge ``other`` in, dict by dict, with ``_delete_`` as in config files.

        Args:
            other: What to add or change; it is not changed itself.

        Raises:
            MergeError: If a dict meets a value that is no dict.
        """
        try:
            merged = merge_dicts(self, other)
        except MergeError as err:
            err.filename, err.lineno = _line_in(self, err.path.split(".")[:1])
            raise
        self.clear()
        self.update(merged)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Value of ``key``, which is set to ``default`` if it is not there."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove ``key`` and return its value, or ``default`` if it is not there."""
        if key in self or default:
            return dict.pop(self, key, *default)
        raise MissingKeyError(key, self, partial(_line_in, self))

    def copy(self) -> ConfigDict:
        """A new node with the same values; nested nodes are shared."""
        return _at_place_of(self, _node_of_items(dict.items(self), type(self)))

    def to_dict(self) -> dict[Any, Any]:
        """Plain dicts and lists all the way down; lazy references become their dotted paths."""
        return plain(self)

    def __or__(self, other: Any) -> ConfigDict:
        if not isinstance(other, Mapping):
            return NotImplemented
        return _united(self, other)

    def __ror__(self, other: Any) -> ConfigDict:
        if not isinstance(other, Mapping):
            return NotImplemented
        return _united(ConfigDict(other), self)

    def __ior__(self, other: Any) -> ConfigDict:
        self.update(other)
        return self

    def __copy__(self) -> ConfigDict:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> ConfigDict:
        return _deepcopy_node(self, memo)

    def __config_place__(self) -> Place:
        """File and line of this node, for whoever finds a mistake in it (a registry, say)."""
        return _line_in(self)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Without its place: that is the whole text of its files. A config brings it along.
        return _rebuild_node, (type(self), dict(dict.items(self)))


class LazyConfigDict(ConfigDict):
    """A node that holds lazy references itself: reading one by its key imports its target.

    A class of its own, which a node takes on when a reference is put into it, so that nodes without
    references keep the C-level look-ups of ``dict``. Dumping, copying and comparing see the
    references and import nothing.
    """

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        value = dict.__getitem__(self, key)
        return value.build() if type(value) is LazyObject else value

    if TYPE_CHECKING:
        pass
    elif sys.version_info >= (3, 12):

        def __getattr__(self, name: str) -> Any:
            return self[name]

    else:
        __getattribute__ = ConfigDict.__getattribute__  # it has no methods of its own names

    def get(self, key: Any, default: Any = None) -> Any:
        """Value of ``key``, imported if it is a lazy reference, or ``default``."""
        return _built(dict.get(self, key, default))

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove ``key`` and return its value, imported if it is a lazy reference."""
        return _built(super().pop(key, *default))

    def popitem(self) -> tuple[Any, Any]:
        """Remove and return the last pair."""
        key, value = dict.popitem(self)
        return key, _built(value)

    def items(self) -> Any:
        """Pairs, with lazy references imported."""
        return [(key, _built(value)) for key, value in dict.items(self)]

    def values(self) -> Any:
        """Values, with lazy references imported."""
        return [_built(value) for value in dict.values(self)]

    def __iter__(self) -> Iterator[Any]:
        # Overridden, if only to say the same: it makes f(**node) read values through __getitem__.
        return dict.__iter__(self)


_METHOD_NAMES = frozenset(dir(LazyConfigDict))
_NODES = (ConfigDict, LazyConfigDict)
# The slot's own C functions: quicker than by name, and no look-up among the keys.
_get_place, _set_place = ConfigDict._place_.__get__, ConfigDict._place_.__set__  # type: ignore[attr-defined]


def _methods_first(self: ConfigDict, name: str) -> Any:
    """How attributes of a subclass are found before Python 3.12: it may have more methods."""
    if name not in _METHOD_NAMES and dict.__contains__(self, name):
        return self[name]
    if hasattr(type(self), name):
        return dict.__getattribute__(self, name)
    return self[name]


def place_of(node: ConfigDict) -> NodePlace | None:
    """Where ``node`` stands in files; ``None`` if it never did."""
    try:
        return _get_place(node)
    except AttributeError:
        return None


def _line_in(node: ConfigDict, keys: Iterable[object] = ()) -> Place:
    place = place_of(node)
    return (None, None) if place is None else line_of(place, keys)


def _at_place_of(node: ConfigDict, copied: ConfigDict) -> ConfigDict:
    try:
        _set_place(copied, _get_place(node))
    except AttributeError:
        pass  # it has none
    return copied


def mark(value: Any, place: NodePlace) -> None:
    """Let ``value`` and all nodes in it that have no place yet know that they stand at ``place``.

    Args:
        value: Nodes, lists and tuples.
        place: Of ``value``.
    """
    waiting, lists = [(value, place)], set()
    while waiting:
        value, place = waiting.pop()
        if isinstance(value, ConfigDict):
            if place_of(value) is not None:
                continue
            _set_place(value, place)
            items: Iterable[tuple[Any, Any]] = dict.items(value)
        elif isinstance(value, (list, tuple)) and id(value) not in lists:
            lists.add(id(value))  # a program may have put a list into itself
            items = enumerate(value)
        else:
            continue
        waiting += [(item, (place, key)) for key, item in items if type(item) not in _ATOMS]


def mark_added(value: Any, node: ConfigDict) -> None:
    """The same for what a program puts into ``node``."""
    place = place_of(node)
    if place is not None:
        mark(value, added_by_program(place))


def _united(first: ConfigDict, second: Mapping[Any, Any]) -> ConfigDict:
    """``first`` updated by ``second``, as a new node; neither is changed."""
    result = first.copy()
    for key, value in _raw_items(second):
        old = dict.get(first, key) if isinstance(value, dict) else None
        result[key] = _united(old, value) if isinstance(old, ConfigDict) else value
    return result


def _built(value: Any) -> Any:
    return value.build() if type(value) is LazyObject else value


def _raw_items(source: Any) -> Iterable[tuple[Any, Any]]:
    """Pairs of a mapping or of an iterable of pairs; lazy references stay what they are."""
    if isinstance(source, dict):
        return dict.items(source)
    if isinstance(source, Mapping):
        return [(key, source[key]) for key in source]
    if hasattr(source, "keys"):
        return [(key, source[key]) for key in source.keys()]  # noqa: SIM118 (dict's own protocol)
    return source


def _node_of_items(items: Iterable[tuple[Any, Any]], kind: type[ConfigDict]) -> ConfigDict:
    node = kind.__new__(kind)
    _fill(node, items)
    return node


def _rebuild_node(kind: type[ConfigDict], content: dict[Any, Any]) -> ConfigDict:
    return _node_of_items(content.items(), kind)


def adopt(value: Any) -> Any:
    """``value`` as it may stand in a node: dicts become nodes, existing nodes are kept."""
    kind = type(value)
    if kind in _ATOMS or kind in _NODES:
        return value
    if isinstance(value, ConfigDict):
        return value
    if isinstance(value, dict):
        node = ConfigDict()
        for key, item in dict.items(value):
            node[key] = item
        return node
    if isinstance(value, (list, tuple)):
        return _sequence_like(value, [adopt(item) for item in value])
    return value


def _sequence_like(value: list[Any] | tuple[Any, ...], items: list[Any]) -> Any:
    """``items`` in the type of ``value``."""
    kind = type(value)
    if kind is list:
        return items
    if kind is tuple:
        return tuple(items)
    if hasattr(kind, "_make"):  # a named tuple takes its fields one by one
        return kind._make(items)  # type: ignore[attr-defined]  # checked on the line above
    return kind(items)


def fresh(value: Any) -> Any:
    """``value`` as nodes, lists and tuples that share no container with it."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is list:
        return [item if type(item) in _ATOMS else fresh(item) for item in value]
    if isinstance(value, dict):
        return fresh_node(value)
    if isinstance(value, (list, tuple)):
        return _sequence_like(value, [fresh(item) for item in value])
    return value


def fresh_node(value: dict[Any, Any]) -> ConfigDict:
    """A node with the content of ``value`` that shares no container with it."""
    content = {}
    kind: type[ConfigDict] = ConfigDict
    for key, item in dict.items(value):
        item_kind = type(item)
        if item_kind not in _ATOMS:
            content[key] = fresh(item)
        else:
            content[key] = item
            if item_kind is LazyObject:
                kind = LazyConfigDict
    return _node_of_items(content.items(), kind)


def plain(value: Any) -> Any:
    """``value`` as builtin dicts, lists and tuples; lazy references become dotted paths."""
    kind = type(value)
    if kind is LazyObject:
        return value.dotted_path
    if kind in _ATOMS:
        return value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in dict.items(value)}
    if isinstance(value, (list, tuple)):
        return _sequence_like(value, [plain(item) for item in value])
    return value


def _deepcopy_node(node: ConfigDict, memo: dict[int, Any]) -> ConfigDict:
    known = memo.get(id(node))
    if known is not None:
        return known
    kind = type(node)
    result = _at_place_of(node, kind.__new__(kind))
    memo[id(node)] = result
    for key, item in dict.items(node):
        _put(result, key, item if type(item) in _ATOMS else _deepcopy(item, memo))
    return result


def _deepcopy(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _NODES:
        return _deepcopy_node(value, memo)
    if kind is list:
        known = memo.get(id(value))
        if known is not None:
            return known
        result: list[Any] = []
        memo[id(value)] = result
        for item in value:
            result.append(item if type(item) in _ATOMS else _deepcopy(item, memo))
        return result
    return copy.deepcopy(value, memo)
