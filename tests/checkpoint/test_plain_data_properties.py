"""Whatever is plain survives a save and a safe load."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from drivetrain.checkpoint import NotPlainDataError, as_plain_data

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

KEYS = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.tuples(st.integers()))
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**600), max_value=2**600),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
)
STATES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(KEYS, inner), st.sets(KEYS)
    ),
    max_leaves=20,
)


def saved_and_loaded(state: Any) -> Any:
    stream = io.BytesIO()
    torch.save(as_plain_data(state), stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(STATES)
def test_plain_data_comes_back_equal_and_of_the_same_types(state: Any) -> None:
    back = saved_and_loaded(state)

    assert back == state
    assert type(back) is type(state) or state == b""


@pytest.mark.parametrize("value", [2**2039 - 1, 1 - 2**2039], ids=["positive", "negative"])
def test_the_largest_number_comes_back(value: int) -> None:
    assert saved_and_loaded(value) == value


def test_what_cannot_be_a_key_is_refused() -> None:
    with pytest.raises(
        NotPlainDataError, match=r"builtins\.bytes, which has no plain form as a key"
    ):
        as_plain_data({b"": 1})


@pytest.mark.parametrize("value", [2**2050, -(2**2050)], ids=["positive", "negative"])
def test_a_number_too_large_for_the_safe_reader_is_refused_when_saved(value: int) -> None:
    with pytest.raises(NotPlainDataError, match=r"\['n'\]: int of \d+ bits"):
        as_plain_data({"n": value})
