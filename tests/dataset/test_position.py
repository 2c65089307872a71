"""A loader starts anywhere, at once, and goes on as if it had never stopped."""

from __future__ import annotations

import itertools
import random
import time

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler

from drivetrain.dataset import (
    BatchExtent,
    DefaultSampler,
    LoaderConfigError,
    batch_extent,
    build_dataloader,
    set_epoch,
    skip_batches,
    skip_samples,
)
from drivetrain.registry import DATA_SAMPLERS


class Counting:
    """Counts how many samples were made in this process."""

    def __init__(self, size=20):
        self.size = size
        self.made = 0

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.made += 1
        return index, random.random()


def loader_of(dataset=None, sampler="DefaultSampler", batch_size=3, **kwargs):
    node = {
        "dataset": dataset or Counting(),
        "sampler": {"type": sampler} if isinstance(sampler, str) else sampler,
        "batch_size": batch_size,
        **kwargs,
    }
    return build_dataloader(node, seed=1)


@DATA_SAMPLERS.register_module(name="TestSorted", force=True)
class Sorted:
    def __init__(self, sampler, batch_size):
        self.sampler, self.batch_size = sampler, batch_size

    def __iter__(self):
        indices = sorted(self.sampler)
        return (indices[i : i + self.batch_size] for i in range(0, len(indices), self.batch_size))

    def __len__(self):
        return -(-len(self.sampler) // self.batch_size)


class Backwards(DefaultSampler):
    """Inherits ``start_at`` and does not honour it."""

    def __iter__(self):
        return iter(range(len(self.dataset))[::-1])


KINDS = {
    "default": {},
    "drop-last": {"drop_last": True},
    "no-batching": {"batch_size": None},
    "own-batches": {"batch_sampler": {"type": "TestSorted"}},
    "own-sampler": {"sampler": Backwards(range(20))},
    "workers": {"num_workers": 2},
    "staying-workers": {"num_workers": 1, "persistent_workers": True},
}


@pytest.mark.parametrize("kwargs", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("skipped", [0, 1, 4, 6, 100])
def test_a_skip_leaves_exactly_the_rest_of_the_epoch(kwargs, skipped):
    whole = loader_of(**kwargs)
    set_epoch(whole, 3)
    expected = list(whole)[skipped:]
    loader = loader_of(**kwargs)
    set_epoch(loader, 3)
    assert skip_batches(loader, skipped) is True
    assert list(loader) == expected


def test_a_skip_makes_none_of_the_skipped_samples():
    for sampler in ("DefaultSampler", RandomSampler(range(20))):
        dataset = Counting()
        loader = loader_of(dataset, sampler)
        skip_batches(loader, 5)
        list(loader)
        assert dataset.made == 5


class Jumping:
    """A user's sampler that can start anywhere."""

    def __init__(self, size):
        self.size, self.start, self.drawn = size, 0, 0

    def start_at(self, position):
        self.start = position

    def __iter__(self):
        start, self.start = self.start, 0
        for index in range(start, self.size):
            self.drawn += 1
            yield index

    def __len__(self):
        return self.size


def test_a_sampler_with_start_at_is_not_walked_through():
    expected = list(loader_of(sampler=Jumping(20)))[5:]
    sampler = Jumping(20)
    loader = loader_of(sampler=sampler)
    skip_batches(loader, 5)
    assert list(loader) == expected
    assert sampler.drawn == 5


def test_a_skip_counts_for_one_iteration_only():
    loader = loader_of(num_workers=1, persistent_workers=True)
    skip_batches(loader, 6)
    assert [len(list(loader)), len(list(loader))] == [1, 7]


def test_a_skip_of_an_infinite_loader_goes_on_in_the_middle_of_its_stream():
    expected = list(itertools.islice(loader_of(sampler="InfiniteSampler"), 30))[20:]
    loader = loader_of(sampler="InfiniteSampler")
    skip_batches(loader, 20)
    assert list(itertools.islice(loader, 10)) == expected


def test_a_million_steps_are_skipped_at_once():
    loader = loader_of(Counting(1000), "InfiniteSampler")
    skip_batches(loader, 1_000_000)
    began_s = time.perf_counter()
    next(iter(loader))
    assert time.perf_counter() - began_s < 0.1


def test_skip_samples_counts_over_all_batches_whatever_their_size():
    expected = [i for batch in loader_of(batch_size=1) for i in batch[0]][6:]
    loader = loader_of(batch_size=5)
    assert skip_samples(loader, 6) is True
    assert [i for batch in loader for i in batch[0]] == expected


def test_skip_samples_is_refused_where_samples_have_no_position():
    loader = loader_of(batch_sampler={"type": "TestSorted"})
    assert skip_samples(loader, 6) is False
    assert len(list(loader)) == 7


def test_a_loader_that_was_not_built_here_says_that_it_cannot_skip():
    loader = DataLoader(list(range(4)))
    assert skip_batches(loader, 1) is False
    assert skip_samples(loader, 1) is False
    assert len(list(loader)) == 4


@pytest.mark.parametrize("skip", [skip_batches, skip_samples])
def test_a_negative_skip_is_refused(skip):
    with pytest.raises(LoaderConfigError, match=f"{skip.__name__}: cannot skip -1"):
        skip(loader_of(), -1)


def test_set_epoch_reaches_the_samplers_of_any_loader():
    sampler = DefaultSampler(range(6), seed=0)
    set_epoch(DataLoader(range(6), sampler=sampler), 4)
    assert sampler.epoch == 4
    set_epoch(DataLoader(range(6), batch_sampler=Sorted(sampler, 2)), 5)
    assert sampler.epoch == 5
    set_epoch([1, 2, 3], 6)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("given", [0, 1, 5, 7])
def test_state_of_a_loader_continues_in_another(num_workers, given):
    first = loader_of(num_workers=num_workers)
    set_epoch(first, 2)
    iterator = iter(first)
    for _ in range(given):
        next(iterator)
    state = first.state_dict()
    expected = list(iterator)

    second = build_dataloader(
        {"dataset": Counting(), "sampler": {"type": "DefaultSampler"}, "batch_size": 3}, seed=77
    )
    second.load_state_dict(state)
    assert list(second) == expected
    assert state["samples"] == min(3 * given, 20)


def test_state_of_an_infinite_loader_continues_in_another():
    first = loader_of(sampler="InfiniteSampler")
    iterator = iter(first)
    for _ in range(50):
        next(iterator)
    second = loader_of(sampler="InfiniteSampler", num_workers=1)
    second.load_state_dict(first.state_dict())
    assert [next(iterator) for _ in range(3)] == list(itertools.islice(second, 3))


def test_state_of_a_loader_with_its_own_batches_continues_in_another():
    kwargs = {"batch_sampler": {"type": "TestSorted"}}
    first, second = loader_of(**kwargs), loader_of(**kwargs)
    iterator = iter(first)
    next(iterator)
    second.load_state_dict(first.state_dict())
    assert list(second) == list(iterator)


def test_state_says_where_a_resumed_loader_is():
    loader = loader_of()
    skip_batches(loader, 2)
    assert loader.state_dict()["samples"] == 6
    next(iter(loader))
    assert loader.state_dict() == {
        "epoch": 0, "samples": 9, "batches": 3, "seed": 1, "sampler_seed": 1
    }  # fmt: skip
    set_epoch(loader, 1)
    assert loader.state_dict()["samples"] == 0


def test_state_survives_a_checkpoint(tmp_path):
    loader = loader_of()
    torch.save(loader.state_dict(), tmp_path / "state.pth")
    loader.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))


def test_an_iterable_dataset_has_no_state():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(3))

    with pytest.raises(LoaderConfigError, match="Stream has no position"):
        build_dataloader({"dataset": Stream()}).state_dict()


def test_extents_of_batches_add_up_to_the_epoch():
    loader = loader_of()
    extents = [batch_extent(loader, i) for i in range(len(loader))]
    assert extents == [BatchExtent(3, 0)] * 6 + [BatchExtent(2, 0)]


def test_extent_is_zero_where_the_order_is_unknown():
    assert batch_extent(DataLoader(range(4)), 0) == (0, 0)
    assert batch_extent([1, 2], 0) == (0, 0)


def _extents_of_a_rank(kind):
    data = list(range(7))
    loader = DataLoader(data, batch_size=2, sampler=kind(data, shuffle=False))
    return [
        (list(batch), batch_extent(loader, index))
        for index, batch in enumerate(map(torch.Tensor.tolist, loader))
    ]


@pytest.mark.parametrize("kind", [DefaultSampler, DistributedSampler])
def test_extents_name_the_padding_of_uneven_ranks(on_ranks, kind):
    """7 samples on 3 ranks: two of nine only repeat the first two, on ranks 1 and 2."""
    ranks = on_ranks(3, _extents_of_a_rank, kind)
    assert [extent for _, extent in ranks[0]] == [(2, 0), (1, 0)]
    assert ranks[1] == [([1, 4], (2, 0)), ([0], (1, 1))]
    assert ranks[2] == [([2, 5], (2, 0)), ([1], (1, 1))]


def _rest_of_a_rank(consumed):
    loader = loader_of(Counting(23), batch_size=2)
    set_epoch(loader, 1)
    skip_samples(loader, consumed)
    return [pair for batch in loader for pair in zip(*batch, strict=True)]


def test_a_run_goes_on_with_other_ranks_where_it_stopped(on_ranks):
    """8 of 23 samples on 2 ranks, the rest on 3: all of them, in one order, looking the same."""
    whole = _rest_of_a_rank(0)
    stopped = [part[:4] for part in on_ranks(2, _rest_of_a_rank, 0)]
    rest = on_ranks(3, _rest_of_a_rank, 8)
    first = [pair for turn in zip(*stopped, strict=True) for pair in turn]
    then = [pair for turn in zip(*rest, strict=True) for pair in turn]
    assert first + then == whole
