"""How one dict of a config goes over another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivetrain.config._errors import ListIndexError, MergeError

DELETE_KEY = "_delete_"


def merge_dicts(
    base: Mapping[Any, Any],
    child: Mapping[Any, Any],
    *,
    allow_list_keys: bool = False,
    path: str = "",
) -> dict[Any, Any]:
    """What results when ``child`` goes over ``base``; neither is changed.

    Dicts merge key by key; every other value, lists too, replaces. A dict of ``child`` with
    ``_delete_=True``, or over ``None``, replaces instead of merging. Containers that only one side
    has are shared with the result.

    Args:
        base: What is inherited.
        child: What is said anew.
        allow_list_keys: Whether a dict with integer keys edits elements of a list of ``base``.
        path: Dotted path of both in their config, for errors.

    Raises:
        MergeError: If a dict of ``child`` meets a value that is no dict.
        ListIndexError: If an index names no element.
    """
    merged = dict(dict.items(base) if isinstance(base, dict) else base.items())
    for key, value in dict.items(child) if isinstance(child, dict) else child.items():
        if not isinstance(value, dict):
            merged[key] = value
        elif merged.get(key) is None or dict.get(value, DELETE_KEY):
            merged[key] = without_delete_keys(value)
        else:
            here = f"{path}.{key!s}" if path else str(key)
            merged[key] = _merge_value(merged[key], value, allow_list_keys, here)
    merged.pop(DELETE_KEY, None)
    return merged


def _merge_value(old: Any, new: dict[Any, Any], allow_list_keys: bool, path: str) -> Any:
    if isinstance(old, dict):
        return merge_dicts(old, new, allow_list_keys=allow_list_keys, path=path)
    if allow_list_keys and isinstance(old, (list, tuple)):
        return _merge_into_list(old, new, path)
    kind = type(old).__name__
    remedy = "list elements are edited by overrides only" if isinstance(old, list) else ""
    raise MergeError(
        f"cannot merge a dict into the inherited {kind} {_shown(old)}; to replace it, add "
        f"`{DELETE_KEY}=True` to the new dict" + (f" ({remedy})" if remedy else ""),
        path=path,
    )


def _merge_into_list(old: list[Any] | tuple[Any, ...], new: dict[Any, Any], path: str) -> Any:
    items = list(old)
    for key, value in dict.items(new):
        index = _list_index(key, len(items), path)
        if isinstance(value, dict) and isinstance(items[index], (dict, list, tuple)):
            if dict.get(value, DELETE_KEY):
                items[index] = without_delete_keys(value)
            else:
                items[index] = _merge_value(items[index], value, True, f"{path}.{key!s}")
        else:
            items[index] = without_delete_keys(value) if isinstance(value, dict) else value
    return items if isinstance(old, list) else type(old)(items)


def _list_index(key: Any, length: int, path: str) -> int:
    try:
        index = int(key)
    except (TypeError, ValueError):
        raise MergeError(
            f"the inherited value is a list; name an element by its index, not {key!r}", path=path
        ) from None
    if not -length <= index < length:
        raise ListIndexError(
            f"index {index} is out of range, the list has {length} items; to add one, give the "
            "whole list",
            path=path,
        )
    return index


def without_delete_keys(value: dict[Any, Any]) -> dict[Any, Any]:
    """``value`` without its ``_delete_`` marks, at any depth of nested dicts and lists."""
    return {key: _cleaned(item) for key, item in dict.items(value) if key != DELETE_KEY}


def without_delete_keys_in_lists(value: dict[Any, Any]) -> dict[Any, Any]:
    """``value`` without the ``_delete_`` marks that merging it does not meet: those in lists."""
    return {
        key: without_delete_keys_in_lists(item) if isinstance(item, dict) else _cleaned(item)
        for key, item in dict.items(value)
    }


def _cleaned(item: Any) -> Any:
    if isinstance(item, dict):
        return without_delete_keys(item)
    if type(item) in (list, tuple):
        return type(item)(map(_cleaned, item))
    return item


def _shown(value: Any, width: int = 40) -> str:
    text = repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."
