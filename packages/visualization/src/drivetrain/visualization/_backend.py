# ruff: noqa: B027 - a tracker overrides what it can record; the rest does nothing, on purpose.
"""What a tracker is: something that records scalars, images, a config and a model of a run."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from drivetrain.visualization._errors import MissingLibraryError, RecordError

if TYPE_CHECKING:
    import numpy as np

MethodT = TypeVar("MethodT", bound=Callable[..., Any])


class ConfigLike(Protocol):
    """What a tracker asks of a config."""

    @property
    def pretty_text(self) -> str: ...

    def dump(self, file: Any = None, *, strict: bool = True) -> Any: ...


def force_init_env(old_func: MethodT) -> MethodT:
    """Make a method of a backend open what it writes to, at its first call; a decorator.

    The object needs a method ``_init_env``; ``_env_initialized`` says whether it was called.
    """

    @functools.wraps(old_func)
    def opened(obj: Any, *args: Any, **kwargs: Any) -> Any:
        if not getattr(obj, "_env_initialized", False):
            _open(obj)
        return old_func(obj, *args, **kwargs)

    return opened  # pyrefly: ignore[bad-return]  # the wrapper takes and returns the same


def _open(obj: Any) -> None:
    if not hasattr(obj, "_init_env"):
        raise TypeError(f"{type(obj).__name__} has no method _init_env, which this needs")
    obj._env_initialized = True
    try:
        obj._init_env()
    except BaseException:
        obj._env_initialized = False  # a second try may work
        raise


class BaseVisBackend(ABC):
    """Base class of trackers: each method records one kind of thing, and does nothing by default.

    A tracker opens what it writes to when it is first used, not when it is made: put that into
    ``_init_env``, and decorate with ``force_init_env`` what needs it.

    Args:
        save_dir: Folder for the files of the tracker.

    Raises:
        MissingLibraryError: If the tracker's library is not installed.
    """

    library: ClassVar[str] = ""  # what has to be importable
    distribution: ClassVar[str] = ""  # what to install for it, where that has another name

    def __init__(self, save_dir: str | None) -> None:
        if self.library and find_spec(self.library) is None:
            raise MissingLibraryError(
                f"{type(self).__name__} writes to {self.library}, which is not installed.\n"
                f"  Install it:  pip install {self.distribution or self.library}"
            )
        self._save_dir = save_dir
        self._env_initialized = False

    @property
    @abstractmethod
    def experiment(self) -> Any:
        """The object of the tracker's library, for all that the methods here do not offer."""

    def _init_env(self) -> None:
        """Open what the tracker writes to; called once, before the first use."""

    def add_config(self, config: ConfigLike, **kwargs: Any) -> None:
        """Record the config of the run."""

    def add_graph(self, model: Any, data_batch: Any, **kwargs: Any) -> None:
        """Record the structure of a model.

        Args:
            model: A ``torch.nn.Module``.
            data_batch: What to call it with.
            **kwargs: For the tracker.
        """

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Record an image.

        Args:
            name: What it shows.
            image: ``(H, W, 3)`` RGB or ``(H, W)`` gray, uint8.
            step: When in the run.
            **kwargs: For the tracker.
        """

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Record a number.

        Args:
            name: What it is.
            value: A number, or an array or a tensor of one element.
            step: When in the run.
            **kwargs: For the tracker.
        """

    def add_scalars(
        self,
        scalar_dict: Mapping[str, Any],
        step: int = 0,
        file_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Record several numbers of one step.

        Args:
            scalar_dict: Numbers by name. A ``step`` among them stands before the argument.
            step: When in the run.
            file_path: A JSON file that gets them, too, for trackers that write files.
            **kwargs: For the tracker.
        """

    def close(self) -> None:
        """Write what is left, and let go of files and connections."""


def number(name: str, value: Any) -> int | float:
    """Return the number that a scalar stands for.

    Raises:
        RecordError: If there is none, or several.
    """
    if isinstance(value, (int, float)):
        return value
    if hasattr(value, "item"):
        try:
            return value.item()
        except (ValueError, RuntimeError) as err:
            raise RecordError(
                f"scalar {name!r} must be one number, got shape {value.shape}"
            ) from err
    raise RecordError(f"scalar {name!r} must be a number, got {type(value).__name__}: {value!r}")


def curves(scalar_dict: Mapping[str, Any], step: int) -> tuple[dict[str, int | float], int]:
    """Return what of a record is drawn as curves, by the name of the curve, and its step.

    A record of the engine says its ``mode``; that goes before the names, so that the losses of
    training and validation do not share a curve. What is no number is left out.
    """
    mode = scalar_dict.get("mode")
    prefix = f"{mode}/" if isinstance(mode, str) else ""
    numbers = {
        prefix + name: number(name, value)
        for name, value in scalar_dict.items()
        if name not in ("step", "iter", "mode", "samples", "wall_time") and _is_number(value)
    }
    return numbers, int(scalar_dict.get("step", step))


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) or getattr(value, "size", None) == 1 or _one_element(value)
    )


def _one_element(value: Any) -> bool:
    return hasattr(value, "numel") and value.numel() == 1
