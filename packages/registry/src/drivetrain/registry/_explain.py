"""Texts for builds that fail: which node, what was wrong, the nearest, what to do.

Imported when the first build fails.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any

from drivetrain.registry._building import current_path, current_place
from drivetrain.registry._errors import (
    ComponentArgumentError,
    NodeError,
    RegistryError,
    UnknownComponentError,
    build_error_like,
)
from drivetrain.registry._nearest import nearest, quoted
from drivetrain.registry._path import join_path
from drivetrain.registry._signature import (
    Misfit,
    argument_names,
    component_of,
    misfit,
    name_of,
    place_of,
    shown_signature,
)

Details = tuple[tuple[str, str], ...]

_UNEXPECTED = re.compile(
    r"unexpected keyword argument '(\w+)'|'(\w+)' is an invalid keyword argument"
)
_OWN_FOLDER = __file__.rpartition("_explain")[0]


def explain_failure(
    err: Exception,
    factory: Callable[..., Any],
    arguments: dict[str, Any],
    cfg: Any,
    registry: Any,
    key: str | None = None,
    kind: Any = None,
) -> Exception:
    """Turn what a build raised into an error that says where and what.

    Args:
        err: What was raised.
        factory: What was called.
        arguments: With which arguments.
        cfg: The node that was being built.
        registry: The registry that was building it.
        key: Where in ``cfg`` an inner node stands, if that is known.
        kind: What the component is called in the node; default: its ``type``.

    Returns:
        ``err`` itself, with a longer path, if it speaks about a node already.
    """
    if isinstance(err, RegistryError):
        if err.node is cfg:
            return err
        if err.node is not None:
            key = _key_of(err.node, cfg) if key is None else key
            if key is not None:
                err.seen_from(current_path(), cfg, key)
            return err
        if isinstance(err, (NodeError, UnknownComponentError, ComponentArgumentError)):
            return _placed(err, cfg)
    component = component_of(factory)
    if isinstance(err, TypeError) and not isinstance(err, RegistryError):
        problem = _argument_error(err, component, arguments, cfg)
        if problem is not None:
            return _placed(problem, cfg)
    summary = f"{_shown_kind(component, cfg, kind)} could not be built: {one_line(err)}"
    details: list[tuple[str, str]] = []
    message = str(err).strip()
    if "\n" in message:  # the summary has its first line only
        details.append(("Message:", message))
    raised_in = _innermost_frame(err)
    if raised_in is not None:
        details.append(("Raised in:", raised_in))
    return _placed(build_error_like(err, summary, tuple(details)), cfg)


def one_line(err: BaseException) -> str:
    """Type and first line of an exception."""
    lines = str(err).strip().splitlines()
    return f"{type(err).__name__}: {lines[0]}" if lines else type(err).__name__


def shown_traceback(err: BaseException) -> str:
    """The traceback of a failed import, without the import machinery and without ours."""
    whole = traceback.TracebackException.from_exception(err)
    link: traceback.TracebackException | None = whole
    while link is not None:
        frames = [
            frame
            for frame in link.stack
            if not frame.filename.startswith("<frozen importlib")
            and not frame.filename.startswith(_OWN_FOLDER)
            and "importlib/__init__" not in frame.filename.replace("\\", "/")
        ]
        link.stack = traceback.StackSummary.from_list(frames)
        link = link.__cause__ or link.__context__
    return "".join(whole.format()).rstrip()


def _placed(err: RegistryError, cfg: Any) -> RegistryError:
    path, locate = current_place()
    return err.placed(path, cfg, locate)


def _shown_kind(component: Any, cfg: Any, kind: Any = None) -> str:
    if kind is None:
        kind = cfg.get("type") if isinstance(cfg, Mapping) else None
    return kind if isinstance(kind, str) else name_of(component)


def _argument_error(
    err: TypeError, component: Any, arguments: dict[str, Any], cfg: Any
) -> ComponentArgumentError | None:
    kind = _shown_kind(component, cfg)
    bad_keys = [key for key in arguments if not isinstance(key, str)]
    if bad_keys:
        return ComponentArgumentError(
            f"{kind}: the keys of a node must be strings, got {bad_keys[0]!r}."
        )
    problem = misfit(component, arguments)
    if problem:
        return ComponentArgumentError(
            misfit_summary(kind, problem), misfit_details(component, problem, arguments)
        )
    # It fits, so it was raised further in: perhaps **kwargs were passed on to one who refuses them.
    match = _UNEXPECTED.search(str(err))
    passed_on = match and (match[1] or match[2])
    if passed_on and passed_on in arguments:
        problem = Misfit([passed_on], [], [])
        details = misfit_details(component, problem, arguments)
        return ComponentArgumentError(f"{kind} takes no argument {passed_on!r}: {err}", details)
    if err.__traceback__ is not None and _innermost_frame(err) is None:
        # Refused by the call itself, and without a signature: written in C.
        return ComponentArgumentError(f"{kind}: {err}", ())
    return None


def misfit_summary(kind: str, problem: Misfit) -> str:
    """One line about arguments that do not fit."""
    by_position = [name for name in problem.unknown if name in problem.missing]
    unknown = [name for name in problem.unknown if name not in by_position]
    missing = [name for name in problem.missing if name not in by_position]
    parts = []
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        parts.append(f"takes no argument{plural} {quoted(unknown)}")
    if by_position:
        parts.append(f"takes {quoted(by_position)} by position only, which no node can give")
    if missing:
        parts.append(f"needs {quoted(missing)}")
    if problem.doubled:
        parts.append(f"is given {quoted(problem.doubled)} twice")
    return f"{kind} {' and '.join(parts)}."


def misfit_details(component: Any, problem: Misfit, keys: Collection[str]) -> Details:
    """The nearest arguments, the signature, and where it is defined."""
    names = [name for name in argument_names(component) if name not in keys]
    close = [name for key in problem.unknown for name in nearest(key, names)]
    if not close and len(problem.unknown) == len(problem.missing) == 1:
        close = problem.missing
    details: list[tuple[str, str]] = []
    if close:
        details.append(("Did you mean:", quoted(dict.fromkeys(close[:3]))))
    for label, text in (
        ("Signature:", shown_signature(component)),
        ("Defined in:", place_of(component)),
    ):
        if text is not None:
            details.append((label, text))
    return tuple(details)


def _innermost_frame(err: BaseException) -> str | None:
    """``file:line, in function`` where it was raised, ``None`` if in the call from here."""
    step, last = err.__traceback__, None
    while step is not None:
        if not step.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
            last = step
        step = step.tb_next
    if last is None:
        return None
    code = last.tb_frame.f_code
    return f"{code.co_filename}:{last.tb_lineno}, in {code.co_name}"


def _key_of(inner: Any, outer: Any) -> str | None:
    """Dotted path of a node inside another one; ``None`` if it is not there, or ambiguous."""
    inside = list(_values_inside(outer, "", 8))
    if not isinstance(inner, (dict, list, tuple)):
        found = [path for path, value in inside if value is inner]
        return found[0] if len(found) == 1 else None
    inside = [(path, value) for path, value in inside if isinstance(value, (dict, list, tuple))]
    kind = _type_in(inner)
    tests: list[Callable[[Any], bool]] = [
        lambda node: node is inner,
        lambda node: _is_equal(node, inner),
    ]
    if kind is not None and kind != _type_in(outer):  # else it may be a changed copy of `outer`
        tests.append(lambda node: _type_in(node) == kind)
    for test in tests:
        found = [path for path, node in inside if test(node)]
        if len(found) == 1:
            return found[0]
    return None


def _values_inside(value: Any, path: str, depth: int) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in dict.items(value)]  # lazy objects stay lazy
    elif isinstance(value, (list, tuple)):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        return []
    found: list[tuple[str, Any]] = []
    for key, item in items:
        where = join_path(path, key)
        found.append((where, item))
        if depth:
            found += _values_inside(item, where, depth - 1)
    return found


def _type_in(node: Any) -> Any:
    return dict.get(node, "type") if isinstance(node, dict) else None


def _is_equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:  # arrays, tensors and the like inside
        return False
