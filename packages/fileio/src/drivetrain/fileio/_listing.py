"""Arguments that all listings share."""

from __future__ import annotations


def checked_suffix(suffix: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the wanted endings as a tuple, or None for all.

    Raises:
        TypeError: If ``suffix`` is neither a string nor a tuple of strings.
    """
    if suffix is None:
        return None
    endings = (suffix,) if isinstance(suffix, str) else suffix
    if not isinstance(endings, tuple) or not all(isinstance(ending, str) for ending in endings):
        raise TypeError(f"suffix must be a string or a tuple of strings, got {suffix!r}")
    return endings


def is_wanted(name: str, endings: tuple[str, ...] | None, *, hidden: bool = False) -> bool:
    """Whether a listing shows this file: not hidden, and with one of the endings."""
    if name.startswith(".") and not hidden:
        return False
    return endings is None or name.endswith(endings)
