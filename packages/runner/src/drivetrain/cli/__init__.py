"""The ``drivetrain`` command.

It stands beside ``drivetrain.runner``, not inside: help and completion must not wait for torch.
"""

from drivetrain.cli._app import main

__all__ = ["main"]
