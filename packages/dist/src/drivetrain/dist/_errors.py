"""What can go wrong in this package, as one tree.

::

    DistError
    ├── LauncherError (also ValueError): the environment does not say who this process is
    ├── BackendError (also ValueError): a communication backend that cannot work here
    ├── GroupError (also RuntimeError): a process group is missing, doubled, or of another shape
    ├── DataMismatchError (also ValueError): ranks brought data that does not fit together
    ├── WrapperError (also ValueError): a model that a wrapper cannot take
    ├── UnusedParametersError (also RuntimeError): parameters that take no part in the loss
    ├── RankFailedError (also RuntimeError): another rank failed; carries its message
    ├── WorkDirError (also OSError): the folder of a run cannot be made or written to
    └── StrategyError (also RuntimeError): a strategy was used in the wrong order or cannot do it
        └── StrategyConfigError (also ValueError): an argument of a strategy has a wrong value
"""

from __future__ import annotations


class DistError(Exception):
    """Root of everything that ``drivetrain.dist`` raises on its own."""


class LauncherError(DistError, ValueError):
    """The variables that a launcher sets are missing, contradictory, or of an unknown launcher."""


class BackendError(DistError, ValueError):
    """The asked communication backend does not exist here, or does not fit the device."""


class GroupError(DistError, RuntimeError):
    """A process group is missing where one is needed, or exists where none may."""


class DataMismatchError(DistError, ValueError):
    """Ranks entered one collective with data that cannot be combined."""


class WrapperError(DistError, ValueError):
    """A model has a form that a wrapper, or a rule for sharding it, cannot take."""


class UnusedParametersError(DistError, RuntimeError):
    """Parameters took no part in the loss, and data-parallel ranks wait for their gradients."""


class RankFailedError(DistError, RuntimeError):
    """Another rank failed in a step that all ranks share.

    Attributes:
        rank: The rank that failed.
    """

    def __init__(self, message: str, rank: int) -> None:
        super().__init__(message)
        self.rank = rank

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        return type(self), (str(self.args[0]), self.rank)


class WorkDirError(DistError, OSError):
    """The folder of a run cannot be made, or not be written to."""


class StrategyError(DistError, RuntimeError):
    """A strategy was asked for something that it cannot do, or not yet."""


class StrategyConfigError(StrategyError, ValueError):
    """An argument of a strategy has a value that it does not understand."""
