"""Every error of the package.

::

    RegistryError
    ├── UnknownComponentError     KeyError        no component has that name
    ├── ComponentArgumentError    TypeError       a missing, unknown or doubled argument
    ├── ComponentBuildError       (the original)  the component itself raised while being built
    ├── NodeError                 TypeError       what stands there is no node
    │   └── MissingTypeError      KeyError        a dict without `type`
    ├── DuplicateNameError        KeyError        the name, or the scope, is taken
    ├── RegistrationError         TypeError       what was given cannot be registered
    ├── UsageError                TypeError       one of our functions got what it cannot use
    ├── InstanceError             RuntimeError    a named instance is missing, or exists already
    ├── ContractError             ImportError     a provider was written for another contract
    ├── MissingPrerequisiteError  ImportError     a package or a program is not installed
    └── CheckError                ValueError      ``Report.raise_if_bad`` found mistakes
"""

from __future__ import annotations

from collections.abc import Callable

from drivetrain.registry._path import join_path

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

_LABEL_WIDTH = 15  # "Did you mean:" and two blanks


class RegistryError(Exception):
    """Whatever goes wrong in a registry.

    Args:
        summary: One line: what happened.
        details: Lines below it: label (may be empty) and text.

    Attributes:
        node_path: Dotted path of the node in its config, ``""`` if nobody named it.
        origin: ``file:line`` of that path, if an enclosing ``building`` can tell; else of the node,
            if it can (by ``__config_place__``, as those of ``drivetrain.config``).
        node: The node that was being built, if there was one.
    """

    summary: str
    details: tuple[tuple[str, str], ...]
    node: Any

    def __init__(self, summary: str = "", details: tuple[tuple[str, str], ...] = ()) -> None:
        # Not super(): a class that is also the original's type would take its constructor.
        Exception.__init__(self, summary)
        self.summary = summary
        self.details = tuple(details)
        self.node = None
        self._innermost: Any = None
        self._locate: Callable[[str], str | None] | None = None
        self._context = ""  # what the `building` blocks around said
        self._inside = ""  # from there to the node, as far as it could be found out

    @property
    def node_path(self) -> str:
        return join_path(self._context, self._inside)

    @property
    def origin(self) -> str | None:
        path = self.node_path
        while self._locate is not None and path:
            try:
                found = self._locate(path)
            except Exception:  # an error about a config must not fail because of its decoration
                found = None
            if found is not None:
                return found
            path = path.rpartition(".")[0]  # where the node around it is
        return _own_place(self._innermost)

    def placed(
        self, context: str, node: Any, locate: Callable[[str], str | None] | None = None
    ) -> RegistryError:
        """Say which node this is about, and under which path it is built; return self."""
        self._context = context
        self.node = node
        if self._innermost is None:
            self._innermost = node
        self._locate = locate
        return self

    def seen_from(self, context: str, node: Any, key: str) -> None:
        """An enclosing node was building this one under ``key``: lengthen the path."""
        if self._context == context:
            self._inside = join_path(key, self._inside)
            self.node = node

    def __str__(self) -> str:  # KeyError shows repr(message): newlines would come out as \n
        path = self.node_path
        lines = [f"{path}: {self.summary}" if path else self.summary]
        origin = self.origin
        for label, text in (*self.details, *((("Config:", origin),) if origin else ())):
            first, *rest = text.splitlines() or [""]
            lines.append(f"  {label:{_LABEL_WIDTH}}{first}" if label else f"  {first}")
            indent = " " * (_LABEL_WIDTH + 2 if label else 2)
            lines += [f"{indent}{line}" for line in rest]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.summary, self.details, self._context, self._inside, self.origin)
        return _restore, (type(self), *state)


class UnknownComponentError(RegistryError, KeyError):
    """A config names a component that nothing installed offers."""


class ComponentArgumentError(RegistryError, TypeError):
    """A node's keys do not fit the arguments of its component."""


class ComponentBuildError(RegistryError):
    """A component raised while it was built; the original is the cause.

    Where Python allows it, the error is also an instance of the original's type, so that
    ``except FileNotFoundError`` around a build works as around a plain call.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self.summary, self.details, self._context, self._inside, self.origin)
        return _restore, (ComponentBuildError, *state)


class NodeError(RegistryError, TypeError):
    """Something stands where a node is expected, and is none."""


class MissingTypeError(NodeError, KeyError):
    """A dict stands where a node is expected, and has no ``type``."""


class DuplicateNameError(RegistryError, KeyError):
    """A name is registered already, or a scope has a child registry already."""


class RegistrationError(RegistryError, TypeError):
    """What was passed to ``register_module`` or ``Registry`` cannot be used."""


class UsageError(RegistryError, TypeError):
    """A function of this package was called with something of the wrong type."""


class MissingPrerequisiteError(RegistryError, ImportError, RuntimeError):
    """A function needs a package or a program that is not installed."""


class InstanceError(RegistryError, RuntimeError):
    """A named instance does not exist yet, or exists and cannot take new arguments."""


class ContractError(RegistryError, ImportError):
    """A provider was written for another version of the contract."""


class CheckError(RegistryError, ValueError):
    """A config has mistakes that were found without building it."""


def _own_place(node: Any) -> str | None:
    """``file:line`` of a node that knows it."""
    tell = getattr(type(node), "__config_place__", None)
    try:
        filename, lineno = (None, None) if tell is None else tell(node)
    except Exception:  # an error about a config must not fail because of its decoration
        return None
    return filename if filename is None or lineno is None else f"{filename}:{lineno}"


def _restore(
    cls: type[RegistryError],
    summary: str,
    details: tuple[tuple[str, str], ...],
    context: str,
    inside: str,
    origin: str | None,
) -> RegistryError:
    err = cls(summary, details)
    err._context, err._inside = context, inside
    if origin is not None:
        err._locate = lambda path: origin
    return err


# Attributes that built-in exceptions keep outside of their __dict__.
_SLOTS = (
    *("errno", "strerror", "filename", "filename2", "name", "path", "code", "value", "obj"),
    *("encoding", "object", "start", "end", "reason", "msg", "lineno", "offset", "text"),
)
_dual_classes: dict[type[BaseException], type[ComponentBuildError]] = {}


def build_error_like(
    original: Exception, summary: str, details: tuple[tuple[str, str], ...]
) -> ComponentBuildError:
    """Make a ``ComponentBuildError`` that is also of the original's type, if that can be done."""
    try:
        cls = _dual_class(type(original))
        err = cls.__new__(cls, *original.args)
        err.__dict__.update(original.__dict__)
        ComponentBuildError.__init__(err, summary, details)
    except Exception:  # its constructor, its layout or its metaclass does not allow it
        return ComponentBuildError(summary, details)
    for slot in _SLOTS:
        value = getattr(original, slot, None)
        if value is not None:
            try:
                setattr(err, slot, value)
            except (AttributeError, TypeError):
                pass  # read-only in this type
    return err


def _dual_class(original: type[Exception]) -> type[ComponentBuildError]:
    cls = _dual_classes.get(original)
    if cls is None:
        body = {
            "__module__": ComponentBuildError.__module__,
            "__doc__": ComponentBuildError.__doc__,
        }
        cls = type("ComponentBuildError", (ComponentBuildError, original), body)
        _dual_classes[original] = cls
    return cls
