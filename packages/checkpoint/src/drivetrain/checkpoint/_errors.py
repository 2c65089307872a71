"""What can go wrong with checkpoints.

::

    CheckpointError
    ├── CheckpointNotFoundError   (FileNotFoundError)       there is no such file
    ├── CheckpointCorruptError    (RuntimeError)            the file is not what was written
    ├── CheckpointWriteError      (OSError)                 it could not be written
    ├── CheckpointDeviceError     (RuntimeError)            its device does not exist here
    ├── UnsafeCheckpointError     (pickle.UnpicklingError)  it holds more than plain data
    ├── NotPlainDataError         (TypeError)               the state to save holds such things
    ├── StateDictMismatchError    (RuntimeError)            model and weights do not fit
    ├── CheckpointContentError    (KeyError)                it lacks what was asked for
    ├── UnknownSchemeError        (ValueError)              nobody knows this prefix or model name
    ├── SchemeRegistrationError   (KeyError)                a prefix is taken
    └── MissingLibraryError       (ImportError)             a library for this is absent
"""

from __future__ import annotations

import pickle


class CheckpointError(Exception):
    """Root of the errors that this package raises on its own account."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no file of this name."""


class CheckpointCorruptError(CheckpointError, RuntimeError):
    """The file is cut, changed, or no checkpoint at all."""


class CheckpointWriteError(CheckpointError, OSError):
    """The file could not be written; what stood there before is untouched."""


class CheckpointDeviceError(CheckpointError, RuntimeError):
    """The tensors were saved from a device that this machine does not have."""


class UnsafeCheckpointError(CheckpointError, pickle.UnpicklingError):
    """The file names objects whose loading would run code.

    Attributes:
        refused: Their names.
    """

    def __init__(self, message: str, refused: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.refused = refused


class NotPlainDataError(CheckpointError, TypeError):
    """The state holds objects that ``torch.load(weights_only=True)`` would refuse."""


class StateDictMismatchError(CheckpointError, RuntimeError):
    """The names or shapes of the weights are not those of the model."""


class CheckpointContentError(CheckpointError, KeyError):
    """The checkpoint lacks what was asked for."""

    def __str__(self) -> str:  # KeyError shows repr(message): newlines would come out as \n
        return str(self.args[0])


class UnknownSchemeError(CheckpointError, ValueError):
    """No loader is registered for this prefix, or it knows no model of this name."""


class SchemeRegistrationError(CheckpointError, KeyError):
    """A prefix has a loader already; ``force=True`` replaces it."""

    def __str__(self) -> str:  # see CheckpointContentError
        return str(self.args[0])


class MissingLibraryError(CheckpointError, ImportError):
    """A library that this operation needs is not installed."""
