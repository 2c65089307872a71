"""Where in a config the thing stands that is being built right now."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token

from drivetrain.registry._path import join_path

Locate = Callable[[str], "str | None"]

# Path, and how to find the file and line of a path.
_Place = tuple[str, "Locate | None"]
_place: ContextVar[_Place] = ContextVar("drivetrain.registry.building", default=("", None))


class building:  # a context manager that reads as a verb, like contextlib.suppress
    """Name the config path of what is built inside; errors raised there start with it.

    Paths nest: inside ``building("train_dataloader")``, ``building("sampler")`` stands for
    ``train_dataloader.sampler``. Each thread and each asyncio task has its own path.

    Args:
        path: Key or path, relative to the enclosing ``building``; an index is ``"3"`` or
            ``"[3]"``, and shown between dots, as an override writes it.
        locate: Tells for a whole dotted path (``pipeline.3.scale``) where it was written
            (``"config.py:12"``), or ``None``; errors show it. Holds for everything inside.

    Example:
        >>> with building("train_dataloader"), building("sampler"):
        ...     current_path()
        'train_dataloader.sampler'
    """

    __slots__ = ("_locate", "_path", "_token")

    def __init__(self, path: str, locate: Locate | None = None) -> None:
        self._path = path
        self._locate = locate
        self._token: Token[_Place] | None = None

    def __enter__(self) -> str:
        outer, locate = _place.get()
        path = join_path(outer, self._path)
        self._token = _place.set((path, self._locate or locate))
        return path

    def __exit__(self, *exc_info: object) -> None:
        if self._token is not None:
            _place.reset(self._token)
            self._token = None


def current_path() -> str:
    """Return the dotted path that the enclosing ``building`` blocks name, or ``""``."""
    return _place.get()[0]


def current_place() -> tuple[str, Locate | None]:
    """Return that path, and what tells the file and line of a path."""
    return _place.get()
