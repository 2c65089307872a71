"""Every error of the package.

::

    OptimError
    ├── OptimArgumentError        ValueError           an argument has a value that cannot work
    ├── OptimTypeError            TypeError            an argument has the wrong type
    ├── LossError                 RuntimeError         a loss that cannot be differentiated
    │   └── NonFiniteLossError    FloatingPointError   a loss that is infinite, or not a number
    ├── ParamwiseError            ValueError           paramwise_cfg does not fit model or optimizer
    ├── ScheduleError             ValueError           a schedule's numbers contradict each other
    ├── ParamGroupKeyError        KeyError             a parameter group lacks the scheduled key
    ├── OptimStateError           ValueError           a state dict does not fit this object
    ├── OptimDependencyError      ImportError          an optional distribution is missing
    └── AmbiguousUpdateError      NotImplementedError  several optimizers, and no way to tell which
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OptimError(Exception):
    """Whatever goes wrong in this package."""

    def __str__(self) -> str:  # KeyError shows repr(message): newlines would come out as \n
        return str(self.args[0]) if self.args else ""


class OptimArgumentError(OptimError, ValueError):
    """An argument has a value that cannot work."""


class OptimTypeError(OptimError, TypeError):
    """An argument has the wrong type."""


class LossError(OptimError, RuntimeError):
    """A loss cannot be differentiated: it is no scalar, or has no graph."""


class NonFiniteLossError(LossError, FloatingPointError):
    """A loss is infinite or not a number; nothing was computed from it."""


class ParamwiseError(OptimError, ValueError):
    """``paramwise_cfg`` does not fit the model, or the optimizer."""


class ScheduleError(OptimError, ValueError):
    """The numbers of a schedule contradict each other."""


class ParamGroupKeyError(OptimError, KeyError):
    """The parameter groups of an optimizer have no such key."""


class OptimStateError(OptimError, ValueError):
    """A state dict does not fit the object that should load it."""


class OptimDependencyError(OptimError, ImportError):
    """An optional distribution is needed and not installed."""


class AmbiguousUpdateError(OptimError, NotImplementedError):
    """Several optimizers, and the call does not say which one."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"``, or nothing where no known name is close."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {match[0]!r}?" if match else ""


def misspelt(name: str, given: Iterable[str]) -> str:
    """Return ``" Is 'x' meant to be 'name'?"``, or nothing where no given name is close."""
    match = difflib.get_close_matches(name, list(given), n=1)
    return f" Is {match[0]!r} meant to be {name!r}?" if match else ""
