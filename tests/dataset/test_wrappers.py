"""Datasets made of datasets."""

from __future__ import annotations

import math

import pytest

from drivetrain.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    ConcatDataset,
    DatasetArgumentError,
    MetainfoError,
    RepeatDataset,
    SubsetUnsupportedError,
    build_dataloader,
    force_full_init,
)
from drivetrain.registry import DATASETS


@DATASETS.register_module(name="TestLetters", force=True)
class Letters(BaseDataset):
    """One entry per letter; the letter is its category."""

    def __init__(self, letters="ab", **kwargs):
        self.letters = letters
        super().__init__(**kwargs)

    def load_data_list(self):
        return [{"letter": letter} for letter in self.letters]

    def get_cat_ids(self, idx):
        letter = self.get_data_info(idx)["letter"]
        return [] if letter == "-" else [ord(letter)]


def letters_of(dataset):
    return "".join(sample["letter"] for sample in dataset)


def test_concatenation_follows_the_order_of_the_datasets():
    dataset = ConcatDataset([Letters("ab"), Letters("cde")])
    assert len(dataset) == 5
    assert letters_of(dataset) == "abcde"
    assert dataset[-1]["letter"] == "e"
    assert dataset.get_data_info(2)["letter"] == "c"
    assert dataset.get_cat_ids(4) == [ord("e")]
    assert dataset._get_ori_dataset_idx(3) == (1, 1)


def test_concatenation_skips_an_empty_dataset():
    assert letters_of(ConcatDataset([Letters("ab"), Letters(""), Letters("c")])) == "abc"


def test_wrapped_datasets_may_be_nodes():
    node = {"type": "TestLetters", "letters": "xy"}
    assert letters_of(ConcatDataset([node, node])) == "xyxy"
    assert letters_of(RepeatDataset(node, times=2)) == "xyxy"
    assert len(ClassBalancedDataset(node, oversample_thr=0.1)) == 2
    assert (
        DATASETS.build({"type": "RepeatDataset", "dataset": node, "times": 3})[5]["letter"] == "y"
    )


def test_metainfo_is_that_of_the_wrapped():
    kwargs = {"metainfo": {"classes": ["a"]}}
    assert ConcatDataset([Letters(**kwargs)]).metainfo == {"classes": ["a"]}
    assert RepeatDataset(Letters(**kwargs), 2).metainfo == {"classes": ["a"]}


def test_concatenated_datasets_must_agree_on_their_metainfo():
    parts = [Letters(metainfo={"classes": ["a"]}), Letters(metainfo={"classes": ["b"]})]
    with pytest.raises(MetainfoError, match=r"dataset 1 does not match that of dataset 0 in \['cl"):
        ConcatDataset(parts)
    assert len(ConcatDataset(parts, ignore_keys="classes")) == 4


def test_nothing_to_concatenate_is_refused():
    with pytest.raises(DatasetArgumentError, match="datasets is empty"):
        ConcatDataset([])


def test_repetition_repeats_in_order():
    dataset = RepeatDataset(Letters("abc"), times=3)
    assert len(dataset) == 9
    assert letters_of(dataset) == "abcabcabc"
    assert dataset._get_ori_dataset_idx(7) == 1
    assert dataset.get_cat_ids(7) == [ord("b")]


@pytest.mark.parametrize("times", [0, -1, 1.5, True])
def test_times_must_be_a_positive_integer(times):
    with pytest.raises(DatasetArgumentError, match="times must be an int >= 1"):
        RepeatDataset(Letters(), times)


def test_rare_categories_are_repeated():
    """f(a) = 8/10 and f(b) = 2/10 by hand; with t = 0.9: ceil(sqrt(0.9 / 0.2)) = 3."""
    dataset = ClassBalancedDataset(Letters("aaaaaaaabb"), oversample_thr=0.9)
    assert math.ceil(math.sqrt(0.9 / 0.8)) == 2
    assert dataset.repeat_indices == [i for i in range(8) for _ in range(2)] + [8, 8, 8, 9, 9, 9]
    assert dataset.get_cat_ids(len(dataset) - 1) == [ord("b")]


def test_nothing_is_repeated_above_the_threshold():
    assert letters_of(ClassBalancedDataset(Letters("aab"), oversample_thr=0.1)) == "aab"


@pytest.mark.parametrize("threshold", [-0.1, float("nan")])
def test_a_threshold_is_not_negative(threshold):
    with pytest.raises(DatasetArgumentError, match="oversample_thr is a fraction"):
        ClassBalancedDataset(Letters("ab"), threshold)


def test_samples_without_a_category_come_once():
    assert letters_of(ClassBalancedDataset(Letters("--ab"), oversample_thr=1e-3)) == "--ab"


WRAPPERS = {
    "concat": lambda d, **k: ConcatDataset([d], **k),
    "repeat": lambda d, **k: RepeatDataset(d, 2, **k),
    "balanced": lambda d, **k: ClassBalancedDataset(d, 0.5, **k),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_lazy_wrappers_initialize_on_demand(wrap):
    inner = Letters("ab", lazy_init=True)
    dataset = wrap(inner, lazy_init=True)
    assert not inner._fully_initialized
    with pytest.warns(UserWarning, match="full_init"):
        assert dataset[0]["letter"] == "a"
    assert inner._fully_initialized


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_subsets_of_wrappers_are_refused(wrap):
    dataset = wrap(Letters("ab"))
    for use in (dataset.get_subset, dataset.get_subset_):
        with pytest.raises(SubsetUnsupportedError, match="`indices` to the wrapped dataset"):
            use(1)


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_an_index_out_of_range_ends_a_walk(wrap):
    dataset = wrap(Letters("ab"))
    assert len(list(dataset)) == len(dataset)
    with pytest.raises(IndexError, match=f"no sample {len(dataset)}"):
        dataset[len(dataset)]


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_wrap_wrappers(wrap):
    assert len(wrap(RepeatDataset(Letters("ab"), 2))) >= 4


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_plain_datasets_are_refused_with_an_alternative(wrap):
    with pytest.raises(DatasetArgumentError, match=r"got list.*torch.utils.data"):
        wrap([1, 2])


@DATASETS.register_module(name="TestEveryOther", force=True)
class EveryOther:
    """A wrapper written downstream, by the guide's rules."""

    def __init__(self, dataset, lazy_init=False):
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self._metainfo = self.dataset.metainfo
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def full_init(self):
        if not self._fully_initialized:
            self.dataset.full_init()
            self._fully_initialized = True

    @force_full_init
    def get_data_info(self, idx):
        return self.dataset.get_data_info(2 * idx)

    @force_full_init
    def __getitem__(self, idx):
        return self.dataset[2 * idx]

    @force_full_init
    def __len__(self):
        return len(self.dataset) // 2

    @property
    def metainfo(self):
        return self._metainfo


def test_a_wrapper_written_downstream_goes_through_a_loader():
    loader = build_dataloader(
        {
            "dataset": {
                "type": "TestEveryOther",
                "lazy_init": True,
                "dataset": {"type": "TestLetters", "letters": "abcdef", "lazy_init": True},
            },
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "batch_size": 3,
        }
    )
    assert next(iter(loader))["letter"] == ["a", "c", "e"]
    assert letters_of(ConcatDataset([loader.dataset, Letters("x")])) == "acex"
