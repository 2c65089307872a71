"""What can go wrong with trackers and pictures.

VisualizationError
├── BackendError                  a tracker that cannot be made or used as asked
│   ├── MissingLibraryError       (ImportError)
│   ├── UnknownBackendError       (KeyError)
│   ├── DuplicateBackendError     (ValueError)
│   └── RecordError               (ValueError, TypeError) something that a tracker cannot record
├── DrawingError                  (ValueError) wrong arguments of a drawing method
│   ├── DrawingTypeError          (TypeError)
│   └── NoImageError              drawing or showing before there is an image
└── RunDataError                  (ValueError) records of a run that give no picture
    └── RunNotFoundError          (FileNotFoundError)
"""

from __future__ import annotations


class VisualizationError(Exception):
    """Root of all errors of this package."""

    def __str__(self) -> str:  # KeyError shows repr(message): newlines would come out as \n
        return str(self.args[0]) if self.args else ""


class BackendError(VisualizationError):
    """A tracker cannot be made or used as asked."""


class MissingLibraryError(BackendError, ImportError):
    """The library that a tracker writes to is not installed."""


class UnknownBackendError(BackendError, KeyError):
    """A visualizer has no backend of that name."""


class DuplicateBackendError(BackendError, ValueError):
    """Two backends of one visualizer have the same name."""


class RecordError(BackendError, ValueError, TypeError):
    """A tracker cannot record what it was given."""


class DrawingError(VisualizationError, ValueError):
    """A drawing method got arguments that do not fit together, or the image."""


class DrawingTypeError(DrawingError, TypeError):
    """A drawing method got an argument of a type that it does not take."""


class NoImageError(DrawingError):
    """There is no image yet to draw on, to return or to show."""


class RunDataError(VisualizationError, ValueError):
    """The records of a run give no picture."""


class RunNotFoundError(RunDataError, FileNotFoundError):
    """There are no records of a run at that place."""
