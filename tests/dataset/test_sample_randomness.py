"""What a sample looks like is a function of (seed, epoch, sample index), and of nothing else."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys
import traceback

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

from drivetrain.dataset import (
    build_dataloader,
    default_collate,
    sample_seed,
    set_epoch,
    skip_batches,
)
from drivetrain.dataset._sample_randomness import KeyedDataset
from drivetrain.registry import DATA_SAMPLERS, FUNCTIONS


class Noisy:
    """Each sample: its index, and a number from each global generator."""

    def __init__(self, size=12):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))


def loader_of(dataset=None, *, seed=5, sampler="DefaultSampler", batch_size=3, **kwargs):
    node = {
        "dataset": Noisy() if dataset is None else dataset,
        "sampler": {"type": sampler} if isinstance(sampler, str) else sampler,
        "batch_size": batch_size,
        **kwargs,
    }
    return build_dataloader(node, seed=seed)


def samples_of(loader, epoch=0, batches=None):
    """Index -> what was drawn for it."""
    set_epoch(loader, epoch)
    found = {}
    for batch in itertools.islice(loader, batches):
        for index, *drawn in zip(*batch, strict=True):
            found[index] = drawn
    return found


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def test_a_sample_does_not_depend_on_the_number_of_workers():
    alone = samples_of(loader_of())
    assert samples_of(loader_of(num_workers=1)) == alone
    assert samples_of(loader_of(num_workers=2)) == alone


def test_a_sample_does_not_depend_on_the_batch_size_or_on_its_neighbours():
    assert samples_of(loader_of(batch_size=5)) == samples_of(loader_of(batch_size=3))


def test_a_sample_differs_between_epochs_seeds_and_indices():
    first = samples_of(loader_of())
    assert samples_of(loader_of(), epoch=1)[4] != first[4]
    assert samples_of(loader_of(seed=6))[4] != first[4]
    assert len({tuple(drawn) for drawn in first.values()}) == 12


def test_an_epoch_repeats_itself():
    loader = loader_of()
    first = samples_of(loader, epoch=2)
    samples_of(loader, epoch=3)
    assert samples_of(loader, epoch=2) == first


def test_the_epoch_reaches_workers_that_stay_alive():
    loader = loader_of(num_workers=2, persistent_workers=True)
    for epoch in (0, 1):
        assert samples_of(loader, epoch) == samples_of(loader_of(), epoch)


def test_a_hook_that_only_tells_the_sampler_its_epoch_changes_the_samples_too():
    loader = loader_of()
    loader.sampler.set_epoch(1)
    told = {index: drawn for b in loader for index, *drawn in zip(*b, strict=True)}
    assert told == samples_of(loader_of(), epoch=1)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loading_leaves_the_random_state_of_the_process_alone(num_workers):
    loader = loader_of(num_workers=num_workers)
    before = states()
    for _ in loader:
        assert states() == before
    assert states() == before


def test_a_cached_gaussian_of_the_process_survives_a_batch():
    """NumPy keeps every second normal number for the next call; reseeding would lose it."""
    np.random.seed(0)
    expected = np.random.randn(2).tolist()
    np.random.seed(0)
    drawn = [np.random.randn()]
    next(iter(loader_of()))
    assert [*drawn, np.random.randn()] == expected


def test_a_loader_of_known_deterministic_data_is_left_alone():
    data = TensorDataset(torch.arange(6))
    for dataset in (data, Subset(data, [0, 1, 2]), [1, 2, 3]):
        loader = loader_of(dataset)
        fetcher = iter(loader)._iterator._dataset_fetcher
        assert fetcher.dataset is dataset


def test_keying_can_be_switched_off():
    loader = loader_of(keyed_randomness=False)
    first, second = samples_of(loader), samples_of(loader)
    assert first.keys() == second.keys()
    assert first != second


def test_the_passes_of_an_infinite_sampler_differ():
    loader = loader_of(sampler="InfiniteSampler", batch_size=5)
    seen = [
        (index, tuple(drawn))
        for batch in itertools.islice(loader, 12)
        for index, *drawn in zip(*batch, strict=True)
    ]
    assert len(seen) == len(set(seen)) == 60
    assert len({index for index, _ in seen}) == 12


def test_samples_that_a_sampler_repeats_are_drawn_anew():
    weights = WeightedRandomSampler([1.0] * 2, 20, generator=torch.Generator().manual_seed(0))
    loader = loader_of(Noisy(2), sampler=weights, batch_size=4)
    drawn = {tuple(d) for batch in loader for _, *d in zip(*batch, strict=True)}
    assert len(drawn) == 20


@DATA_SAMPLERS.register_module(name="TestOwnBatches", force=True)
class OwnBatches:
    """A batch sampler of another class than PyTorch's."""

    def __init__(self, sampler, batch_size):
        self.sampler, self.batch_size = sampler, batch_size

    def __iter__(self):
        indices = sorted(self.sampler)
        return (indices[i : i + self.batch_size] for i in range(0, len(indices), self.batch_size))

    def __len__(self):
        return -(-len(self.sampler) // self.batch_size)


def test_a_batch_sampler_of_your_own_keeps_the_samples():
    loader = loader_of(batch_sampler={"type": "TestOwnBatches"}, batch_size=4)
    assert loader.batch_sampler.batch_size == 4
    assert samples_of(loader, epoch=1) == samples_of(loader_of(), epoch=1)


class Rows:
    """A dataset that fetches whole batches in one call."""

    def __len__(self):
        return 6

    def __getitems__(self, indices):
        return [(i, random.random()) for i in indices]


def test_a_dataset_that_fetches_whole_batches_is_seeded_once_a_batch():
    first = [list(map(tuple, batch)) for batch in loader_of(Rows())]
    again = [list(map(tuple, batch)) for batch in loader_of(Rows(), num_workers=1)]
    assert first == again
    assert len({number for _, numbers in first for number in numbers}) == 6


@FUNCTIONS.register_module(name="test_noisy_collate", force=True)
def noisy_collate(samples):
    return [s[0] for s in samples], random.random()


def test_a_random_collate_function_depends_on_its_batch_only():
    def numbers(**kwargs):
        return [number for _, number in loader_of(collate_fn="test_noisy_collate", **kwargs)]

    before = random.getstate()
    alone = numbers()
    assert random.getstate() == before
    assert numbers(num_workers=2) == alone
    assert len(set(alone)) == 4


class Ready(Noisy):
    def __getitem__(self, index):
        return sample_seed()


def test_sample_seed_is_known_while_a_sample_is_made_and_only_then():
    seeds = [seed for batch in loader_of(Ready()) for seed in batch]
    assert len(set(seeds)) == 12
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert sample_seed() is None


class Failing(Noisy):
    def __getitem__(self, index):
        random.random()
        raise ValueError("broken")


def test_a_sample_that_fails_gives_the_random_state_back():
    before = states()
    with pytest.raises(ValueError, match="broken"):
        next(iter(loader_of(Failing())))
    assert states() == before
    assert sample_seed() is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes came with Python 3.11")
@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("batch_size", [3, None])
def test_a_sample_that_fails_is_named(num_workers, batch_size):
    with pytest.raises(ValueError, match="broken") as caught:
        next(iter(loader_of(Failing(), num_workers=num_workers, batch_size=batch_size)))
    told = "".join(traceback.format_exception(caught.value))
    assert re.search(r"while making sample \d+ of Failing, in epoch 0", told)


class Seen(Noisy):
    def __getitem__(self, index):
        return type(get_worker_info().dataset).__name__


def test_users_meet_their_own_dataset_everywhere():
    """Only the fetcher sees the wrapped one: not the loader, and not a worker's info."""
    dataset = Seen()
    loader = loader_of(dataset, num_workers=1)
    assert set(next(iter(loader))) == {"Seen"}
    assert loader.dataset is dataset


def named_worker_init(worker_id):
    get_worker_info().dataset.size = 99


class Sized(Noisy):
    def __getitem__(self, index):
        return self.size


def test_a_worker_init_function_reaches_the_users_dataset():
    loader = loader_of(Sized(), num_workers=1, worker_init_fn=named_worker_init)
    assert loader.worker_init_fn is named_worker_init
    assert next(iter(loader)) == [99, 99, 99]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(5))


def test_an_iterable_dataset_goes_its_own_way():
    loader = build_dataloader({"dataset": Stream(), "batch_size": 2, "collate_fn": default_collate})
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4]]
    assert skip_batches(loader, 1) is False


def test_without_batching_each_sample_still_has_its_key():
    loader = loader_of(batch_size=None)
    alone = {index: drawn for index, *drawn in loader}
    assert alone == samples_of(loader_of())


def test_a_base_seed_is_not_drawn_from_the_global_generator():
    """PyTorch's own loader does; then the model's dropout depends on how often it was iterated."""
    data = TensorDataset(torch.arange(4))
    before = torch.get_rng_state().tolist()
    list(loader_of(data, batch_size=2))
    assert torch.get_rng_state().tolist() == before
    list(DataLoader(data))
    assert torch.get_rng_state().tolist() != before


SPAWN_PROGRAM = """
import json, random
from drivetrain.dataset import build_dataloader, set_epoch

class Noisy:
    def __len__(self):
        return 6
    def __getitem__(self, index):
        return index, random.random()

def numbers(**kwargs):
    loader = build_dataloader(
        dict(dataset=Noisy(), sampler=dict(type="DefaultSampler"), batch_size=2, **kwargs), seed=5)
    set_epoch(loader, 1)
    return [[list(field) for field in batch] for batch in loader]

if __name__ == "__main__":
    spawned = numbers(num_workers=1, multiprocessing_context="spawn")
    print(json.dumps(spawned == numbers()))
"""


@pytest.mark.slow
def test_spawned_workers_make_the_same_samples(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(SPAWN_PROGRAM)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True)
    assert done.stdout.strip() == "true", done.stderr


def _samples_of_a_rank():
    loader = loader_of(Noisy(9))
    return samples_of(loader, epoch=1)


def test_a_sample_does_not_depend_on_the_number_of_ranks(on_ranks):
    alone = samples_of(loader_of(Noisy(9)), epoch=1)
    for world_size in (2, 3):
        together = {}
        for part in on_ranks(world_size, _samples_of_a_rank):
            together.update(part)
        assert together == alone


def test_keys_of_neighbours_are_unrelated():
    """Seeds, epochs and indices are small and consecutive; their keys must not be."""
    keys = {
        KeyedDataset(Noisy(), seed)._key(epoch, occurrence, index)
        for seed in range(10)
        for epoch in range(10)
        for occurrence in range(3)
        for index in range(100)
    }
    assert len(keys) == 30_000
    ones = sum(key.bit_count() for key in keys) / len(keys)
    assert 31.8 < ones < 32.2  # of 64 bits, half on average; 30,000 keys scatter by 0.02
    low, high = ({key & 0xFFFF for key in keys}, {key >> 48 for key in keys})
    # 30,000 draws out of 65,536 give 24,073 different ones on average (by hand: n (1 - e^(-k/n)))
    assert abs(len(low) - 24_073) < 400
    assert abs(len(high) - 24_073) < 400
