"""Checking, casting and cutting sequences."""

from __future__ import annotations

from collections import OrderedDict, namedtuple

import pytest

from drivetrain.structures import (
    SequenceLengthError,
    SequenceTypeError,
    apply_to,
    concat_list,
    is_list_of,
    is_seq_of,
    is_str,
    is_tuple_of,
    iter_cast,
    list_cast,
    slice_list,
    to_1tuple,
    to_2tuple,
    to_3tuple,
    to_4tuple,
    to_ntuple,
    tuple_cast,
)

Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("check", "value", "kind", "expected"),
    [
        (is_seq_of, [1, 2.0], (int, float), True),
        (is_seq_of, (1, "2"), int, False),
        (is_seq_of, "abc", str, True),
        (is_seq_of, 1, int, False),
        (is_seq_of, [], str, True),
        (is_list_of, [1, 2], int, True),
        (is_list_of, (1, 2), int, False),
        (is_tuple_of, (1, 2), int, True),
        (is_tuple_of, [1, 2], int, False),
        (is_tuple_of, (1, None), int, False),
    ],
)
def test_the_items_of_a_sequence_are_of_a_type(check, value, kind, expected) -> None:
    assert check(value, kind) is expected


def test_a_string_is_one() -> None:
    assert is_str("a")
    assert not is_str(b"a")


def test_items_are_converted() -> None:
    assert list_cast([1, "2", 3.5], int) == [1, 2, 3]
    assert tuple_cast(range(2), str) == ("0", "1")
    assert next(iter_cast(["7"], int)) == 7
    assert iter_cast([1, 1], str, return_type=set) == {"1"}


@pytest.mark.parametrize("arguments", [(1, str), ([1], "str")], ids=["inputs", "type"])
def test_what_cannot_be_converted_is_refused(arguments) -> None:
    with pytest.raises(SequenceTypeError, match="iter_cast"):
        list_cast(*arguments)


def test_a_list_is_cut_and_joined() -> None:
    pieces = slice_list([1, 2, 3, 4, 5, 6], [1, 0, 3, 2])
    assert pieces == [[1], [], [2, 3, 4], [5, 6]]
    assert concat_list(pieces) == [1, 2, 3, 4, 5, 6]
    assert slice_list(list("abcd"), 2) == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize(
    ("lens", "error"),
    [(4, SequenceLengthError), ([1, 2], SequenceLengthError), ((6,), SequenceTypeError)],
    ids=str,
)
def test_pieces_that_do_not_make_up_the_list_are_refused(lens, error) -> None:
    with pytest.raises(error, match="slice_list"):
        slice_list([1, 2, 3, 4, 5, 6], lens)


def test_a_single_value_is_repeated_and_several_stay() -> None:
    assert [to_1tuple(7), to_2tuple(7), to_3tuple(7)] == [(7,), (7, 7), (7, 7, 7)]
    assert to_4tuple("same") == ("same",) * 4
    assert to_2tuple([1, 2, 3]) == (1, 2, 3)
    assert to_ntuple(0)(1) == ()


def test_parts_of_a_nest_are_replaced_and_the_nest_stays() -> None:
    nest = {"a": [1, (2, "x")], "b": Pair(3, {"c": 4}), "d": OrderedDict(e=5)}
    replaced = apply_to(nest, lambda x: isinstance(x, int), lambda x: -x)
    assert replaced == {"a": [-1, (-2, "x")], "b": Pair(-3, {"c": -4}), "d": OrderedDict(e=-5)}
    assert type(replaced["d"]) is OrderedDict
    assert nest["a"] == [1, (2, "x")]


def test_a_container_is_asked_for_before_what_is_in_it() -> None:
    assert apply_to([[1, 2], [3]], lambda x: x == [3], len) == [[1, 2], 1]
