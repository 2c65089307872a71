"""Where in a config the thing stands that is being built right now."""

from __future__ import annotations

from contextvars import ContextVar, Token

_path: ContextVar[str] = ContextVar("drivetrain.registry.building", default="")


class building:  # noqa: N801  # a context manager that reads as a verb, like contextlib.suppress
    """Name the config path of what is built inside; errors raised there start with it.

    Paths nest: inside ``building("train_dataloader")``, ``building("sampler")`` stands for
    ``train_dataloader.sampler``. Each thread and each asyncio task has its own path.

    Args:
        path: Dotted path, relative to the enclosing ``building``.

    Example:
        >>> with building("train_dataloader"), building("sampler"):
        ...     current_path()
        'train_dataloader.sampler'
    """

    __slots__ = ("_name", "_token")

    def __init__(self, path: str) -> None:
        self._name = path
        self._token: Token[str] | None = None

    def __enter__(self) -> str:
        outer = _path.get()
        path = f"{outer}.{self._name}" if outer and self._name else outer or self._name
        self._token = _path.set(path)
        return path

    def __exit__(self, *exc_info: object) -> None:
        if self._token is not None:
            _path.reset(self._token)
            self._token = None


def current_path() -> str:
    """Return the dotted path that the enclosing ``building`` blocks name, or ``""``."""
    return _path.get()
