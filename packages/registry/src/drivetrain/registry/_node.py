"""What a node is: a mapping with ``type``; and what may stand in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drivetrain.registry._building import current_place
from drivetrain.registry._errors import MissingTypeError, NodeError, RegistryError
from drivetrain.registry._manager import ManagerMixin

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any, TypeVar

    E = TypeVar("E", bound=RegistryError)

# Values of these types hold nothing else.
ATOMS = frozenset({type(None), bool, int, float, str, bytes})

# Nothing of these types was built from a node: it is a slip in a config.
_NEVER_BUILT = (str, bytes, bool, int, float, complex, list, tuple, set, frozenset, type)


def is_node(value: Any) -> bool:
    """Whether ``value`` is a mapping; a whole config is one, too."""
    return isinstance(value, (dict, Mapping))


def is_lazy(value: Any) -> bool:
    """Whether ``value`` stands for something that is imported when it is needed.

    A protocol, so that no config package has to be imported: a class with a method ``build`` and a
    ``dotted_path``.
    """
    kind = type(value)
    return hasattr(kind, "dotted_path") and callable(getattr(kind, "build", None))


def resolve_lazy(value: Any) -> Any:
    """Import what a lazy object stands for; return anything else as it is."""
    return value.build() if is_lazy(value) else value


def factory_of(component: Any) -> Callable[..., Any]:
    """What to call to build a component."""
    found: Any = resolve_lazy(component)
    if isinstance(found, type) and issubclass(found, ManagerMixin):
        return found.get_instance
    if not callable(found):
        raise no_type(found)
    factory: Callable[..., Any] = found
    return factory


def resolve_arguments(arguments: dict[str, Any]) -> None:
    """Import what lazy objects in ``arguments`` stand for, in lists and dicts at any depth too.

    Nodes stay nodes: they are for whoever builds them. Containers are copied where something in
    them is resolved, so that the config keeps its references.
    """
    for key, value in arguments.items():
        if type(value) in ATOMS or (isinstance(value, dict) and "type" in value):
            continue
        resolved = _resolved(value, set())
        if resolved is not value:
            arguments[key] = resolved


def _resolved(value: Any, around: set[int]) -> Any:
    if isinstance(value, dict):
        return value if "type" in value else _resolved_inside(value, around)
    if isinstance(value, (list, tuple, set, frozenset)):
        return value if ATOMS.issuperset(map(type, value)) else _resolved_inside(value, around)
    return resolve_lazy(value)


def _resolved_inside(value: Any, around: set[int]) -> Any:
    """``value`` itself if nothing in it is lazy, else a copy with what is meant."""
    if id(value) in around:
        return value  # it contains itself
    around.add(id(value))
    old = list(dict.values(value) if isinstance(value, dict) else value)
    new = [item if type(item) in ATOMS else _resolved(item, around) for item in old]
    around.discard(id(value))
    if all(before is after for before, after in zip(old, new, strict=True)):
        return value
    if isinstance(value, dict):
        copied = value.copy()
        dict.update(copied, zip(value, new, strict=True))
        return copied
    kind = type(value)
    return kind._make(new) if hasattr(kind, "_make") else kind(new)  # a named tuple


def arguments_of(cfg: Any, default_args: Any) -> dict[str, Any] | None:
    """Merge a node over its defaults; ``None`` if ``cfg`` was built already.

    Raises:
        NodeError: If ``cfg`` is neither a node nor anything that could have been built from one.
    """
    if default_args is not None and not is_node(default_args):
        raise placed(NodeError(f"`default_args` must be a mapping or None, got {default_args!r}."))
    if is_node(cfg):
        return {**(default_args or {}), **cfg}
    if cfg is None or isinstance(cfg, _NEVER_BUILT) or is_lazy(cfg):
        raise no_node(cfg)
    return None


def no_node(cfg: Any) -> NodeError:
    """Explain why ``cfg`` cannot be built."""
    details: tuple[tuple[str, str], ...] = ()
    if isinstance(cfg, str):
        details = (("To do:", f"write dict(type={cfg!r})"),)
    elif isinstance(cfg, type) or is_lazy(cfg):
        name = getattr(cfg, "__name__", None) or str(cfg)
        details = (("To do:", f"write dict(type={name}, ...)"),)
    elif isinstance(cfg, (list, tuple)):
        details = (("To do:", "build its items one by one"),)
    shown = f"{type(cfg).__name__} {cfg!r}" if cfg is not None else "None"
    return placed(NodeError(f"a node is a mapping with `type`, got {_short(shown)}.", details), cfg)


def no_type(kind: Any) -> NodeError:
    """Explain that ``type`` is neither a name nor something to call."""
    return NodeError(
        f"`type` must be a name, a class or a function, got {type(kind).__name__} "
        f"{_short(repr(kind))}."
    )


def missing_type(cfg: Any) -> NodeError:
    """Explain that the node has no ``type``, and which key may have been meant."""
    keys = [str(key) for key in cfg]
    details: tuple[tuple[str, str], ...] = ()
    typos = [
        key for key in keys if key.lower().strip("_") in {"type", "tpye", "typ", "types", "tyep"}
    ]
    if typos:
        details = (("Did you mean:", f"'type' instead of {typos[0]!r}"),)
    shown = _short(", ".join(keys)) or "none"
    err = MissingTypeError(f"the node has no `type` (its keys: {shown}).", details)
    return placed(err, cfg)


def placed(err: E, node: Any = None) -> E:
    """Add path, node, and file and line as far as they are known."""
    path, locate = current_place()
    err.placed(path, node, locate)
    return err


def _short(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."
