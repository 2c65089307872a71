"""Datasets that read their annotations only when somebody needs them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def force_full_init(method: Method) -> Method:
    """Decorate a method of a dataset so that it calls ``full_init()`` first, if nobody has.

    Args:
        method: Of a class with ``full_init`` and ``_fully_initialized``.

    Returns:
        The method, with the call in front. It raises ``AttributeError`` when called on an object
        without ``full_init``.
    """

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not getattr(self, "_fully_initialized", False):
            if not hasattr(self, "full_init"):
                raise AttributeError(
                    f"{type(self).__name__}.{method.__name__} is decorated with force_full_init, "
                    f"and {type(self).__name__} has no method full_init"
                )
            self.full_init()
            self._fully_initialized = True
        return method(self, *args, **kwargs)

    return wrapped  # type: ignore[return-value]
