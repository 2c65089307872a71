"""One file interface over a disk, HTTP and object stores; load and dump by format."""

from drivetrain.fileio.__about__ import __version__

__all__ = ["__version__"]
