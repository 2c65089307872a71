"""Every error of the package.

::

    ModelError
    ├── ModelArgumentError     ValueError           an argument has a value that cannot work
    ├── ModelTypeError         TypeError            an argument has the wrong type
    ├── ModelOutputError       TypeError            a model returned what the engine cannot use
    ├── BatchError             ValueError           a batch has a shape or type that cannot be used
    ├── InitCfgError           ValueError           an init_cfg does not fit its module
    └── AveragingError         RuntimeError         source and averaged model differ in structure
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ModelError(Exception):
    """Whatever goes wrong in this package."""


class ModelArgumentError(ModelError, ValueError):
    """An argument has a value that cannot work."""


class ModelTypeError(ModelError, TypeError):
    """An argument has the wrong type."""


class ModelOutputError(ModelError, TypeError):
    """A model returned what the engine cannot use."""


class BatchError(ModelError, ValueError):
    """A batch has a shape or type that cannot be used."""


class InitCfgError(ModelError, ValueError):
    """An ``init_cfg`` does not fit the module that it should initialize."""


class AveragingError(ModelError, RuntimeError):
    """The source and the averaged model differ in structure."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"``, or nothing where no known name is close."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {match[0]!r}?" if match else ""
