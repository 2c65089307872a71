"""Which arguments a component takes, and how well a node's keys fit them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from drivetrain.registry._manager import ManagerMeta

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_MAX_SHOWN = 200


class Misfit(NamedTuple):
    """How keys do not fit a signature."""

    unknown: list[str]
    missing: list[str]
    doubled: list[str]

    def __bool__(self) -> bool:
        return bool(self.unknown or self.missing or self.doubled)


def component_of(factory: Callable[..., Any]) -> Any:
    """The class or function behind what is called to build it."""
    owner = getattr(factory, "__self__", None)
    if isinstance(owner, ManagerMeta) and getattr(factory, "__name__", "") == "get_instance":
        return owner
    return factory


def name_of(component: Any) -> str:
    """Short name for a message."""
    inner = getattr(component, "func", None)
    if inner is not None and not hasattr(component, "__name__"):
        return f"partial({name_of(inner)})"
    return getattr(component, "__qualname__", None) or repr(component)


def signature_of(component: Any) -> inspect.Signature | None:
    """The signature, or ``None`` for one written in C without any."""
    try:
        return inspect.signature(component)
    except (TypeError, ValueError):
        return None


def misfit(component: Any, keys: Iterable[str], given: Iterable[str] = ()) -> Misfit:
    """Compare keys with the arguments that a component takes.

    Args:
        component: Class, function or partial.
        keys: Keys of the node, without ``type``.
        given: Names of arguments that whoever builds it adds by itself.

    Returns:
        Unknown, missing and doubled names; all empty where there is no signature to compare with.
    """
    signature = signature_of(component)
    keys, given = list(keys), list(given)
    doubled = [key for key in keys if key in given]
    if signature is None:
        return Misfit([], [], doubled)
    parameters = signature.parameters.values()
    names = {p.name for p in parameters if p.kind in _BY_NAME}
    unknown = [] if _takes_any(signature) else [key for key in keys if key not in names]
    present = {*keys, *given}
    missing = [
        p.name
        for p in parameters
        if p.default is inspect.Parameter.empty
        and (
            p.kind is inspect.Parameter.POSITIONAL_ONLY
            or (p.kind in _BY_NAME and p.name not in present)
        )
    ]
    return Misfit(unknown, missing, doubled)


def _takes_any(signature: inspect.Signature) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())


def argument_names(component: Any) -> list[str]:
    """Names that a component takes; where it passes ``**kwargs`` on, those of its bases too."""
    names: dict[str, None] = {}
    chain = [component]
    if isinstance(component, type):
        chain += [vars(base)["__init__"] for base in component.__mro__ if "__init__" in vars(base)]
    for link in chain:
        signature = signature_of(link)
        if signature is None:
            continue
        names.update((p.name, None) for p in signature.parameters.values() if p.kind in _BY_NAME)
        if link is not component and not _takes_any(signature):
            break
    names.pop("self", None)
    return list(names)


def shown_signature(component: Any) -> str | None:
    """The signature as text; without annotations where they make it long."""
    signature = signature_of(component)
    if signature is None:
        return None
    name = name_of(component)
    parameters = list(signature.parameters.values())
    text = f"{name}{inspect.Signature([_readable(p) for p in parameters])}"
    if len(text) <= _MAX_SHOWN:
        return text
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    text = f"{name}{inspect.Signature(bare)}"
    return text if len(text) <= 2 * _MAX_SHOWN else f"{text[: 2 * _MAX_SHOWN - 4]} ..."


class _Bare(str):
    """An annotation that is source text already: shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _readable(parameter: inspect.Parameter) -> inspect.Parameter:
    if isinstance(parameter.annotation, str):
        return parameter.replace(annotation=_Bare(parameter.annotation))
    return parameter


def place_of(component: Any) -> str | None:
    """``file:line`` where a component is defined, if its source is there."""
    component = getattr(component, "func", component)
    try:
        return f"{inspect.getsourcefile(component)}:{inspect.getsourcelines(component)[1]}"
    except (TypeError, OSError):
        return None
