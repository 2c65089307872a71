"""What can go wrong between an annotation file and a batch.

DatasetError
├── AnnotationError        (ValueError)               an annotation file breaks the format
├── AnnotationNotFoundError (FileNotFoundError)        there is no such annotation file
├── MetainfoError          (TypeError, ValueError)    meta information is no mapping, or differs
├── DatasetArgumentError   (TypeError, ValueError)    an argument that cannot be
├── SubsetError            (ValueError)               indices that do not name samples
├── SubsetUnsupportedError (NotImplementedError)      a subset of a wrapper would be ambiguous
├── SampleError            (RuntimeError)             no valid sample could be prepared
├── TransformError         (what was raised)          a transform of the pipeline raised
├── CollateError           (RuntimeError, TypeError)  samples cannot be merged into one batch
├── LoaderConfigError      (ValueError)               a dataloader node lacks or repeats something
└── EmptyLoaderError       (ValueError)               a loader that would never yield a batch
"""

from __future__ import annotations

import copyreg
import functools
from typing import Any, cast


class DatasetError(Exception):
    """Root of everything that this package raises on purpose."""


class AnnotationError(DatasetError, ValueError):
    """An annotation file, or an entry of it, does not follow the format."""


class AnnotationNotFoundError(DatasetError, FileNotFoundError):
    """The annotation file of a dataset does not exist."""


class MetainfoError(DatasetError, TypeError, ValueError):
    """Meta information is not a mapping, or differs where it must agree."""


class DatasetArgumentError(DatasetError, TypeError, ValueError):
    """A dataset, wrapper or pipeline got an argument of the wrong kind, or out of range."""


class SubsetError(DatasetError, ValueError):
    """Indices for a subset do not name samples of the dataset."""


class SubsetUnsupportedError(DatasetError, NotImplementedError):
    """A dataset wrapper was asked for a subset, whose meaning would be ambiguous."""


class SampleError(DatasetError, RuntimeError):
    """The pipeline gave no valid sample."""


class _KeepsOriginalType(type):
    """Metaclass of errors that also are instances of what was raised; lets pickle rebuild them."""


class TransformError(DatasetError, metaclass=_KeepsOriginalType):
    """A transform of the pipeline raised; also an instance of what it raised.

    So ``except FileNotFoundError`` around a pipeline keeps its meaning. The original is the cause.
    """

    def __str__(self) -> str:  # KeyError and OSError would show something else
        return str(self.args[0]) if self.args else ""


@functools.cache
def _transform_error_type(original: type[Exception]) -> type[TransformError]:
    if issubclass(original, TransformError):
        return original
    try:
        bases: tuple[type, ...] = (TransformError, original)
        return cast("type[TransformError]", _KeepsOriginalType("TransformError", bases, {}))
    except TypeError:  # the memory layouts of the two do not go together
        return TransformError


def _reduce_type(kind: type) -> str | tuple[Any, ...]:
    if kind is TransformError:
        return kind.__qualname__
    return _transform_error_type, (kind.__bases__[1],)


# The type is made at run time, and has to travel from a worker process by value.
copyreg.pickle(_KeepsOriginalType, _reduce_type)  # type: ignore[arg-type]


def transform_error(message: str, original: Exception) -> TransformError:
    """A ``TransformError`` that is an instance of ``original``'s type where that is possible."""
    kind = _transform_error_type(type(original))
    try:
        return kind(message)
    except Exception:  # a constructor of its own, which wants something else
        return TransformError(message)


class CollateError(DatasetError, RuntimeError, TypeError):
    """Samples cannot be merged into one batch."""


class LoaderConfigError(DatasetError, ValueError):
    """A dataloader node lacks something, or says it twice."""


class EmptyLoaderError(DatasetError, ValueError):
    """A dataloader that would never yield a batch."""
