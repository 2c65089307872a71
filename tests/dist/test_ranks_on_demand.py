"""Ranks for a test, as one call."""

from __future__ import annotations

import pytest
import torch

from drivetrain.dist import all_reduce, get_rank, get_world_size
from drivetrain.dist.testing import on_ranks


def test_each_rank_answers_in_its_place() -> None:
    assert on_ranks(3, lambda offset: (get_rank() + offset, get_world_size()), 10) == [
        (10, 3),
        (11, 3),
        (12, 3),
    ]


def test_ranks_reach_each_other() -> None:
    def total() -> float:
        value = torch.tensor(float(get_rank()))
        all_reduce(value)
        return value.item()

    assert on_ranks(3, total) == [3.0, 3.0, 3.0]


def test_a_rank_that_is_done_waits_for_those_still_connecting() -> None:
    """Without a word between them, the first to finish closed what others were opening."""
    for _ in range(5):
        assert on_ranks(4, get_rank) == [0, 1, 2, 3]


def test_the_error_of_a_rank_is_shown() -> None:
    def divide() -> float:
        return 1 / get_rank()

    with pytest.raises(AssertionError, match=r"rank 0:(.|\n)*ZeroDivisionError"):
        on_ranks(2, divide)
