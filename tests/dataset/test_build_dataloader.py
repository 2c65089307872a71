"""From a dataloader's node to a loader, and what is said when the node is wrong."""

from __future__ import annotations

import functools

import pytest
import torch
from torch.utils.data import DataLoader, SequentialSampler

from drivetrain.dataset import (
    BaseDataset,
    DefaultSampler,
    EmptyLoaderError,
    LoaderConfigError,
    build_dataloader,
    default_collate,
    pseudo_collate,
    worker_init_fn,
)
from drivetrain.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS, RegistryError


@DATASETS.register_module(name="TestSquares", force=True)
class Squares:
    metainfo = {"classes": ["a"]}

    def __init__(self, size=10, fail=False):
        self.size = size
        self.initialized = 0
        if fail:
            raise ValueError("no such squares")

    def full_init(self):
        self.initialized += 1

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index**2


@DATA_SAMPLERS.register_module(name="TestPlainSampler", force=True)
class PlainSampler:
    """Takes a dataset and nothing else."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        return iter(range(len(self.dataset)))

    def __len__(self):
        return len(self.dataset)


@FUNCTIONS.register_module(name="test_scaled", force=True)
def scaled(samples, by=1):
    return [by * sample for sample in samples]


@FUNCTIONS.register_module(name="test_worker_init", force=True)
def note_worker(worker_id, note=None):
    """Named by its registry name in a node."""


def node(**kwargs):
    return {
        "dataset": {"type": "TestSquares"},
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "batch_size": 4,
        **kwargs,
    }


def test_a_loader_comes_back_as_it_is():
    loader = DataLoader([1, 2])
    assert build_dataloader(loader) is loader


def test_a_node_becomes_a_loader():
    loader = build_dataloader(node())
    assert isinstance(loader, DataLoader)
    assert list(loader) == [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81]]
    assert len(loader) == 3
    assert loader.batch_size == 4


def test_the_node_is_not_changed_by_building():
    config = node(collate_fn={"type": "pseudo_collate"})
    before = {**config, "dataset": dict(config["dataset"]), "sampler": dict(config["sampler"])}
    build_dataloader(config, seed=1)
    assert config == before


def test_the_dataset_is_initialized_once_and_stays_the_users_object():
    dataset = Squares()
    loader = build_dataloader(node(dataset=dataset))
    list(loader)
    assert loader.dataset is dataset
    assert dataset.initialized == 1


def test_the_sampler_gets_dataset_and_seed():
    loader = build_dataloader(node(sampler={"type": "DefaultSampler"}), seed=17)
    assert loader.sampler.seed == 17
    assert loader.sampler.dataset is loader.dataset


def test_a_sampler_that_takes_no_seed_is_given_none():
    loader = build_dataloader(node(sampler={"type": "TestPlainSampler"}), seed=17)
    assert sum(len(batch) for batch in loader) == 10


def test_pytorchs_samplers_get_their_data_source():
    loader = build_dataloader(node(sampler={"type": SequentialSampler}), seed=17)
    assert loader.sampler.data_source is loader.dataset
    assert len(list(loader)) == 3


def test_with_a_seed_per_rank_the_sampler_takes_that_of_the_first_rank():
    """So a seeded run has the same order each time it is started."""
    loader = build_dataloader(node(), seed=17, diff_rank_seed=True)
    assert loader.sampler.seed == 17


def test_samplers_may_be_objects():
    sampler = SequentialSampler(range(3))
    assert build_dataloader(node(sampler=sampler)).sampler is sampler


def test_a_batch_sampler_node_gets_sampler_and_batch_size():
    config = node(batch_sampler={"type": torch.utils.data.BatchSampler, "drop_last": True})
    loader = build_dataloader(config)
    assert loader.batch_sampler.batch_size == 4
    assert isinstance(loader.batch_sampler.sampler, DefaultSampler)
    assert len(loader) == 2


@pytest.mark.parametrize(
    "collate_fn",
    ["default_collate", {"type": "default_collate"}, {"type": default_collate}, default_collate],
    ids=["name", "node", "node-of-function", "function"],
)
def test_a_collate_function_is_itself_its_name_or_a_node(collate_fn):
    loader = build_dataloader(node(collate_fn=collate_fn))
    assert next(iter(loader)).tolist() == [0, 1, 4, 9]


def test_the_other_keys_of_a_collate_node_are_bound():
    loader = build_dataloader(node(collate_fn={"type": "test_scaled", "by": 2}))
    assert next(iter(loader)) == [0, 2, 8, 18]


def test_without_a_collate_function_samples_are_not_stacked():
    assert build_dataloader(node()).collate_fn is pseudo_collate


def test_workers_are_seeded_from_the_seed_unless_told_otherwise():
    by_default = build_dataloader(node(), seed=3).worker_init_fn
    assert isinstance(by_default, functools.partial)
    assert by_default.func is worker_init_fn
    assert by_default.keywords["seed"] == 3
    assert build_dataloader(node()).worker_init_fn is None
    chosen = build_dataloader(node(worker_init_fn={"type": "test_worker_init", "note": 1}), seed=3)
    assert chosen.worker_init_fn.func is note_worker


def test_num_batch_per_epoch_cuts_the_epoch():
    loader = build_dataloader(node(num_batch_per_epoch=2))
    assert list(loader) == [[0, 1, 4, 9], [16, 25, 36, 49]]
    assert len(loader.dataset) == 8
    assert loader.dataset.metainfo == {"classes": ["a"]}


def test_num_batch_per_epoch_beyond_the_dataset_changes_nothing():
    assert len(build_dataloader(node(num_batch_per_epoch=99)).dataset) == 10


def test_a_sample_behind_the_cut_is_out_of_range():
    dataset = build_dataloader(node(num_batch_per_epoch=1)).dataset
    with pytest.raises(IndexError, match="this epoch has 4 samples"):
        dataset[4]


BAD = {
    "no-dataset": ({"dataset": ...}, LoaderConfigError, "needs a 'dataset'"),
    "no-sampler": ({"sampler": ...}, LoaderConfigError, "needs a 'sampler'.*DefaultSampler"),
    "shuffle": ({"shuffle": True}, LoaderConfigError, "not by 'shuffle'"),
    "unknown-sampler": ({"sampler": {"type": "Nope"}}, RegistryError, "Nope"),
    "unknown-dataset": ({"dataset": {"type": "Nope"}}, RegistryError, "Nope"),
    "unknown-collate": ({"collate_fn": "nope"}, LoaderConfigError, "no function 'nope'"),
    "collate-without-type": ({"collate_fn": {"by": 2}}, LoaderConfigError, "needs a 'type'"),
    "collate-number": ({"collate_fn": 3}, LoaderConfigError, "was expected, got 3"),
    "no-batches": ({"num_batch_per_epoch": 0}, LoaderConfigError, ".* from 1 on, got 0"),
    "empty-dataset": (
        {"dataset": {"type": "TestSquares", "size": 0}},
        EmptyLoaderError,
        "no batch.*0 samples.*annotation file",
    ),
    "too-few": (
        {"batch_size": 20, "drop_last": True},
        EmptyLoaderError,
        r"10 samples, batch_size is 20, drop_last is True.*smaller batch_size",
    ),
    "failing-dataset": (
        {"dataset": {"type": "TestSquares", "fail": True}}, RegistryError, "no such squares"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "error", "text"), BAD.values(), ids=BAD)
def test_a_wrong_node_is_refused_with_what_to_do(change, error, text):
    config = {key: value for key, value in node(**change).items() if value is not ...}
    with pytest.raises(error, match=text):
        build_dataloader(config)


def test_something_else_than_a_loader_or_node_is_refused():
    with pytest.raises(LoaderConfigError, match="or a mapping of its arguments, got 3"):
        build_dataloader(3)


def test_an_error_names_the_path_in_the_node():
    with pytest.raises(RegistryError, match="dataset"):
        build_dataloader(node(dataset={"type": "TestSquares", "unknown_argument": 1}))


def test_the_guides_example_trains_from_registered_parts():
    """A dataset behind a function, with transforms from the registry, as the guide builds one."""
    loader = build_dataloader(
        {
            "dataset": torch.utils.data.TensorDataset(torch.arange(6.0), torch.arange(6)),
            "sampler": {"type": "DefaultSampler", "shuffle": True},
            "collate_fn": {"type": "default_collate"},
            "batch_size": 3,
        },
        seed=0,
    )
    values, labels = next(iter(loader))
    assert values.shape == labels.shape == (3,)


def test_a_dataset_that_is_read_late_is_read_before_workers_start(tmp_path):
    (tmp_path / "a.json").write_text('{"metainfo": {}, "data_list": [{"img_path": "x"}]}')
    dataset = BaseDataset(ann_file=str(tmp_path / "a.json"), lazy_init=True)
    build_dataloader(node(dataset=dataset))
    assert dataset._fully_initialized


def _batches_of_a_rank():
    config = node(dataset=Squares(1), sampler={"type": "DefaultSampler", "round_up": False})
    return list(build_dataloader(config))


def test_a_rank_may_be_left_without_samples(on_ranks):
    """An evaluation of few samples on many ranks."""
    assert on_ranks(2, _batches_of_a_rank) == [[[0]], []]
