"""What can go wrong with data elements.

::

    StructuresError
    ├── FieldNameError   (AttributeError)              the name is taken, reserved or unknown
    ├── FieldTypeError   (TypeError, AssertionError)   a value has the wrong type
    ├── FieldShapeError  (ValueError, AssertionError)  a value does not fit the others
    ├── ElementIndexError (IndexError)                 an index is out of range, or of no use here
    ├── SequenceTypeError (TypeError)                  what was given is no sequence, or no type
    └── SequenceLengthError (ValueError, AssertionError)  the pieces do not make up the list

Three of them are also ``AssertionError``, which code for the reference engine expects.
"""

from __future__ import annotations


class StructuresError(Exception):
    """Root of the errors that this package raises on its own account."""


class FieldNameError(StructuresError, AttributeError):
    """A field has this name already in the other group, or the name is reserved."""


class FieldTypeError(StructuresError, TypeError, AssertionError):
    """A value is not of a type that this field or element holds."""


class FieldShapeError(StructuresError, ValueError, AssertionError):
    """A value's length, height or width is not that of the others."""


class ElementIndexError(StructuresError, IndexError):
    """An index is out of range, or has the wrong number of dimensions."""


class SequenceTypeError(StructuresError, TypeError):
    """What was given is no sequence, or no type."""


class SequenceLengthError(StructuresError, ValueError, AssertionError):
    """Pieces and the list to be cut have different lengths."""
