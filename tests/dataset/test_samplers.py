"""Samplers: one order for all ranks, and any position in it at once."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.dataset import DefaultSampler, InfiniteSampler, LoaderConfigError, _samplers
from drivetrain.registry import DATA_SAMPLERS


def of_rank(kind, rank, world_size, size, **kwargs):
    """A sampler as rank ``rank`` of ``world_size`` would have it, without starting processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_samplers, "get_data_share", lambda: (rank, world_size))
        return kind(range(size), seed=7, **kwargs)


def dealt(parts):
    """One of each rank in turn, as a process group would see the samples."""
    turns = itertools.zip_longest(*parts)
    return [index for turn in turns for index in turn if index is not None]


def global_order(kind, world_size, size, *, start=0, epoch=0, take=None, **kwargs):
    parts = []
    for rank in range(world_size):
        sampler = of_rank(kind, rank, world_size, size, **kwargs)
        sampler.set_epoch(epoch)
        sampler.start_at(start)
        parts.append(list(itertools.islice(sampler, take)))
    return dealt(parts)


def test_an_epoch_has_every_sample_once():
    sampler = DefaultSampler(range(10), seed=0)
    assert sorted(sampler) == list(range(10))
    assert len(sampler) == 10


def test_without_shuffle_samples_come_in_order():
    assert list(DefaultSampler(range(5), shuffle=False)) == [0, 1, 2, 3, 4]


def test_epochs_have_different_orders_and_an_epoch_repeats_its_own():
    sampler = DefaultSampler(range(50), seed=0)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_seed_and_epoch_are_not_interchangeable():
    """Adding the two, as is common, gives run 1 the orders of run 0, shifted by an epoch."""
    one = DefaultSampler(range(50), seed=1)
    two = DefaultSampler(range(50), seed=0)
    two.set_epoch(1)
    assert list(one) != list(two)


def test_without_a_seed_one_is_drawn():
    assert isinstance(DefaultSampler(range(3)).seed, int)


@given(
    size=st.integers(1, 40),
    world_size=st.integers(1, 5),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_the_global_order_does_not_depend_on_the_number_of_ranks(size, world_size, shuffle, epoch):
    alone = global_order(DefaultSampler, 1, size, shuffle=shuffle, epoch=epoch)
    together = global_order(
        DefaultSampler, world_size, size, shuffle=shuffle, epoch=epoch, round_up=False
    )
    assert together == alone


@given(size=st.integers(1, 40), world_size=st.integers(1, 5))
def test_round_up_makes_ranks_even_and_only_repeats_from_the_beginning(size, world_size):
    parts = [list(of_rank(DefaultSampler, r, world_size, size)) for r in range(world_size)]
    lengths = {len(part) for part in parts}
    assert len(lengths) == 1
    order = dealt(parts)
    assert order[:size] == global_order(DefaultSampler, 1, size)
    assert order[size:] == (order[:size] * world_size)[: len(order) - size]


def test_len_is_what_a_rank_yields():
    for rank in range(3):
        even = of_rank(DefaultSampler, rank, 3, 7)
        uneven = of_rank(DefaultSampler, rank, 3, 7, round_up=False)
        assert len(even) == len(list(even)) == 3
        assert len(uneven) == len(list(uneven))


@given(
    size=st.integers(1, 30),
    before=st.integers(1, 4),
    after=st.integers(1, 4),
    turns=st.integers(0, 10),
)
def test_a_run_that_goes_on_with_other_ranks_repeats_and_loses_nothing(size, before, after, turns):
    consumed = min(turns * before, size)
    first = global_order(DefaultSampler, before, size)[:consumed]
    rest = global_order(DefaultSampler, after, size, start=consumed)
    assert (first + rest)[:size] == global_order(DefaultSampler, 1, size)
    assert len(rest) % after == 0


def test_a_start_counts_for_one_iteration_only():
    sampler = DefaultSampler(range(5), shuffle=False)
    sampler.start_at(3)
    assert list(sampler) == [3, 4]
    assert list(sampler) == [0, 1, 2, 3, 4]


def test_a_start_at_the_end_yields_nothing():
    sampler = DefaultSampler(range(5))
    sampler.start_at(5)
    assert list(sampler) == []


@pytest.mark.parametrize("kind", [DefaultSampler, InfiniteSampler])
def test_a_negative_start_is_refused(kind):
    with pytest.raises(LoaderConfigError, match="cannot be -1"):
        kind(range(5)).start_at(-1)


def test_the_infinite_stream_is_one_permutation_after_the_other():
    stream = list(itertools.islice(InfiniteSampler(range(6), seed=0), 18))
    passes = [stream[0:6], stream[6:12], stream[12:18]]
    assert [sorted(p) for p in passes] == [list(range(6))] * 3
    assert passes[0] != passes[1]


@given(size=st.integers(1, 20), world_size=st.integers(1, 5), start=st.integers(0, 100))
def test_the_infinite_stream_is_the_same_for_any_number_of_ranks(size, world_size, start):
    take = 3 * size
    alone = global_order(InfiniteSampler, 1, size, take=start + take * world_size)
    together = global_order(InfiniteSampler, world_size, size, start=start, take=take)
    assert together == alone[start:]


def test_an_infinite_stream_in_order_wraps_around():
    stream = InfiniteSampler(range(3), shuffle=False)
    assert list(itertools.islice(stream, 7)) == [0, 1, 2, 0, 1, 2, 0]


def test_the_infinite_stream_starts_anywhere_at_no_cost():
    sampler = InfiniteSampler(range(100), seed=0)
    sampler.start_at(10**12)
    began_s = time.perf_counter()
    next(iter(sampler))
    assert time.perf_counter() - began_s < 0.1


def test_len_of_the_infinite_sampler_is_one_pass():
    assert len(InfiniteSampler(range(6))) == 6


def test_set_epoch_leaves_the_infinite_stream_alone():
    sampler = InfiniteSampler(range(9), seed=3)
    before = list(itertools.islice(sampler, 9))
    sampler.set_epoch(4)
    assert list(itertools.islice(sampler, 9)) == before


@pytest.mark.parametrize("kind", [DefaultSampler, InfiniteSampler])
def test_state_carries_seed_epoch_and_start_to_another_sampler(kind):
    first = kind(range(20), seed=1)
    first.set_epoch(2)
    first.start_at(6)
    second = kind(range(20), seed=99)
    second.load_state_dict(first.state_dict())
    assert list(itertools.islice(second, 8)) == list(itertools.islice(first, 8))


def test_samplers_are_registered_under_their_names():
    sampler = DATA_SAMPLERS.build({"type": "DefaultSampler", "dataset": [1, 2], "shuffle": False})
    assert list(sampler) == [0, 1]
    assert DATA_SAMPLERS.get("mmengine.InfiniteSampler") is InfiniteSampler


def _orders_of_a_rank(size):
    sampler = DefaultSampler(range(size))
    return sampler.seed, list(sampler)


def test_real_ranks_agree_on_a_drawn_seed_and_share_the_samples(on_ranks):
    (seed_0, part_0), (seed_1, part_1) = on_ranks(2, _orders_of_a_rank, 9)
    assert seed_0 == seed_1
    assert sorted(dealt([part_0, part_1])[:9]) == list(range(9))
