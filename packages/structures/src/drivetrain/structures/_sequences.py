"""Checking, casting and cutting sequences, and reaching into nested ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from drivetrain.structures._errors import SequenceLengthError, SequenceTypeError

T = TypeVar("T")
Types = type | tuple[type, ...]


def is_seq_of(seq: Any, expected_type: Types, seq_type: type | None = None) -> bool:
    """Whether all items are of a type.

    Args:
        seq: What to look at; anything that is no sequence is none.
        expected_type: Type, or types, of the items.
        seq_type: Type of the sequence itself; any by default.

    Example:
        >>> is_seq_of(["a", "b"], str), is_seq_of(("a", 1), str)
        (True, False)
    """
    kind = Sequence if seq_type is None else seq_type
    return isinstance(seq, kind) and all(isinstance(item, expected_type) for item in seq)


def is_list_of(seq: Any, expected_type: Types) -> bool:
    """Whether it is a list, and all items are of a type.

    Args:
        seq: What to look at.
        expected_type: Type, or types, of the items.
    """
    return is_seq_of(seq, expected_type, seq_type=list)


def is_tuple_of(seq: Any, expected_type: Types) -> bool:
    """Whether it is a tuple, and all items are of a type.

    Args:
        seq: What to look at.
        expected_type: Type, or types, of the items.
    """
    return is_seq_of(seq, expected_type, seq_type=tuple)


def is_str(x: Any) -> bool:
    """Whether it is a string."""
    return isinstance(x, str)


def iter_cast(
    inputs: Iterable[Any],
    dst_type: Callable[[Any], T],
    return_type: Callable[[Iterable[T]], Any] | None = None,
) -> Any:
    """Convert each item.

    Args:
        inputs: The items.
        dst_type: What converts one.
        return_type: What the result is put into; an iterator by default.

    Returns:
        The converted items in a ``return_type``, or a lazy iterator.

    Raises:
        SequenceTypeError: If ``inputs`` cannot be gone through, or ``dst_type`` is no type.
    """
    if not isinstance(inputs, Iterable):
        raise SequenceTypeError(f"iter_cast: inputs must be iterable, got {type(inputs).__name__}")
    if not isinstance(dst_type, type):
        raise SequenceTypeError(f"iter_cast: dst_type must be a type, got {dst_type!r}")
    converted = map(dst_type, inputs)
    return converted if return_type is None else return_type(converted)


def list_cast(inputs: Iterable[Any], dst_type: Callable[[Any], T]) -> list[T]:
    """Convert each item, into a list.

    Args:
        inputs: The items.
        dst_type: What converts one.

    Returns:
        The converted items, in order.

    Raises:
        SequenceTypeError: As :func:`iter_cast`.
    """
    return iter_cast(inputs, dst_type, return_type=list)


def tuple_cast(inputs: Iterable[Any], dst_type: Callable[[Any], T]) -> tuple[T, ...]:
    """Convert each item, into a tuple.

    Args:
        inputs: The items.
        dst_type: What converts one.

    Returns:
        The converted items, in order.

    Raises:
        SequenceTypeError: As :func:`iter_cast`.
    """
    return iter_cast(inputs, dst_type, return_type=tuple)


def slice_list(in_list: list[T], lens: int | list[int]) -> list[list[T]]:
    """Cut a list into pieces.

    Args:
        in_list: The list.
        lens: The length of each piece, or one length for all.

    Returns:
        The pieces, in order.

    Raises:
        SequenceTypeError: If ``lens`` is neither.
        SequenceLengthError: If the pieces do not make up the list.

    Example:
        >>> slice_list([1, 2, 3, 4, 5, 6], 2)
        [[1, 2], [3, 4], [5, 6]]
        >>> slice_list([1, 2, 3], [1, 2])
        [[1], [2, 3]]
    """
    if isinstance(lens, int):
        if lens < 1 or len(in_list) % lens:
            raise SequenceLengthError(
                f"slice_list: {len(in_list)} items cannot be cut into pieces of {lens}"
            )
        lens = [lens] * (len(in_list) // lens)
    if not isinstance(lens, list):
        raise SequenceTypeError(f"slice_list: lens is an int or a list of ints, got {lens!r}")
    if sum(lens) != len(in_list):
        raise SequenceLengthError(
            f"slice_list: lens sum up to {sum(lens)}, but there are {len(in_list)} items"
        )
    ends = list(itertools.accumulate(lens))
    return [in_list[end - length : end] for end, length in zip(ends, lens, strict=True)]


def concat_list(in_list: list[list[T]]) -> list[T]:
    """Join lists into one.

    Args:
        in_list: The lists; none is changed.

    Returns:
        A new list with all their items.
    """
    return list(itertools.chain.from_iterable(in_list))


def to_ntuple(n: int) -> Callable[[Any], tuple[Any, ...]]:
    """Make a function that repeats a single value ``n`` times, and turns several into a tuple.

    Args:
        n: Length of the tuple that a single value becomes.

    Returns:
        The function. Text counts as a single value; the length of several is not checked.
    """

    def repeat(x: Any) -> tuple[Any, ...]:
        if isinstance(x, Iterable) and not isinstance(x, str):
            return tuple(x)
        return (x,) * n

    repeat.__doc__ = f"``x`` as a tuple; a single value {n} times."
    return repeat


to_1tuple = to_ntuple(1)
to_2tuple = to_ntuple(2)
to_3tuple = to_ntuple(3)
to_4tuple = to_ntuple(4)


def apply_to(data: Any, expr: Callable[[Any], bool], apply_func: Callable[[Any], Any]) -> Any:
    """Replace parts of nested dicts, lists and tuples.

    Args:
        data: The nest; it is not changed.
        expr: Whether a part is to be replaced; asked for containers before what is in them.
        apply_func: Makes the replacement.

    Returns:
        The nest with new containers, of the same types.

    Example:
        >>> apply_to({"a": 1, "b": [2, "x"]}, lambda x: isinstance(x, int), lambda x: x * 10)
        {'a': 10, 'b': [20, 'x']}
    """
    if expr(data):
        return apply_func(data)
    if isinstance(data, dict):
        items = {key: apply_to(value, expr, apply_func) for key, value in data.items()}
        return items if type(data) is dict else type(data)(items)
    if isinstance(data, tuple) and hasattr(data, "_fields"):  # a named tuple
        return type(data)(*(apply_to(value, expr, apply_func) for value in data))
    if isinstance(data, (list, tuple)):
        return type(data)(apply_to(value, expr, apply_func) for value in data)
    return data
