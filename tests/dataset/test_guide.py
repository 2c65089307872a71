"""The guide's chapters on datasets and loaders, example by example, on four images made here."""

from __future__ import annotations

import copy
import json
import os.path
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Sampler

from drivetrain.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    Compose,
    ConcatDataset,
    DefaultSampler,
    RepeatDataset,
    build_dataloader,
    default_collate,
    force_full_init,
)
from drivetrain.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS, TRANSFORMS

LABELS = {"train": [0, 1, 0], "val": [1]}


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Two annotation files, and the images that they name."""
    (tmp_path / "annotations").mkdir()
    for part, labels in LABELS.items():
        (tmp_path / part / "pets").mkdir(parents=True)
        entries = []
        for number, label in enumerate(labels):
            name = f"pets/pet_{number}.npy"
            np.save(tmp_path / part / name, np.full((4 + number, 6, 3), number, dtype=np.uint8))
            entries.append({"img_path": name, "img_label": label})
        content = {"metainfo": {"classes": ["cat", "dog"]}, "data_list": entries}
        (tmp_path / "annotations" / f"{part}.json").write_text(json.dumps(content))
    return str(tmp_path)


class Pets(BaseDataset):
    def parse_data_info(self, raw_data_info: dict[str, Any]) -> dict[str, Any]:
        prefix = self.data_prefix.get("img_path")
        if prefix is not None:
            raw_data_info["img_path"] = os.path.join(prefix, raw_data_info["img_path"])
        return raw_data_info

    def get_cat_ids(self, idx: int) -> list[int]:
        return [int(self.get_data_info(idx)["img_label"])]


class LoadImage:
    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        results["img"] = np.load(results["img_path"])
        return results


class ParseImage:
    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        results["img_shape"] = results["img"].shape
        return results


def pets(root: str, part: str = "train", kind: type[Pets] = Pets, **options: Any) -> Pets:
    return kind(
        data_root=root,
        data_prefix={"img_path": f"{part}/"},
        ann_file=f"annotations/{part}.json",
        pipeline=[LoadImage(), ParseImage()],
        **options,
    )


def test_a_dataset_tells_facts_entries_and_samples(root: str) -> None:
    dataset = pets(root)
    path = os.path.join(root, "train/", "pets/pet_1.npy")

    assert dataset.metainfo == {"classes": ["cat", "dog"]}
    assert dataset.get_data_info(1) == {"img_path": path, "img_label": 1, "sample_idx": 1}
    assert len(dataset) == 3
    sample = dataset[1]
    assert sample["img_path"] == path
    assert sample["img"].shape == sample["img_shape"] == (5, 6, 3)


def test_subsets_are_copies_or_changes(root: str) -> None:
    dataset = pets(root)
    assert (len(dataset.get_subset(1)), len(dataset)) == (1, 3)
    assert [entry["img_label"] for entry in dataset.get_subset([1, 0])] == [1, 0]
    dataset.get_subset_(1)
    assert len(dataset) == 1


def test_facts_come_from_the_argument_then_the_class_then_the_file(root: str) -> None:
    class Named(Pets):
        METAINFO = {"classes": ["Cat", "Dog"], "task": "pets"}

    assert pets(root, kind=Named).metainfo["classes"] == ["Cat", "Dog"]
    dataset = pets(root, kind=Named, metainfo={"classes": ["c", "d"]})
    assert dataset.metainfo == {"classes": ["c", "d"], "task": "pets"}


def test_an_entry_may_hold_several_samples(root: str) -> None:
    class Videos(Pets):
        def parse_data_info(self, raw_data_info: dict[str, Any]) -> list[dict[str, Any]]:
            return [{**raw_data_info, "frame": frame} for frame in range(2)]

    dataset = pets(root, kind=Videos)
    assert [dataset.get_data_info(i)["frame"] for i in range(len(dataset))] == [0, 1] * 3


def test_another_file_format_needs_one_method(tmp_path: Path) -> None:
    class Lines(BaseDataset):
        def load_data_list(self) -> list[dict[str, Any]]:
            lines = Path(self.ann_file or "").read_text().splitlines()
            return [{"name": name, "label": int(label)} for name, label in map(str.split, lines)]

    (tmp_path / "list.txt").write_text("a 1\nb 0\n")
    dataset = Lines(str(tmp_path / "list.txt"))
    assert dataset[1] == {"name": "b", "label": 0, "sample_idx": 1}


def test_a_lazy_dataset_reads_its_file_when_that_is_needed(root: str) -> None:
    dataset = pets(root, lazy_init=True, metainfo={"task": "pets"})
    assert dataset.metainfo == {"task": "pets"}
    dataset.full_init()
    assert dataset.metainfo == {"task": "pets", "classes": ["cat", "dog"]}
    assert len(dataset) == 3

    for use in (
        len,
        lambda lazy: lazy.get_data_info(0),
        lambda lazy: lazy.get_subset_(1),
        lambda lazy: lazy.get_subset(1),
    ):
        lazy = pets(root, lazy_init=True)
        use(lazy)
        assert "classes" in lazy.metainfo
    with pytest.warns(UserWarning, match="full_init"):
        assert pets(root, lazy_init=True)[0]["img_label"] == 0


def test_an_index_need_not_be_packed(root: str) -> None:
    packed, plain = pets(root), pets(root, serialize_data=False)
    assert [packed.get_data_info(i) for i in range(3)] == [plain.get_data_info(i) for i in range(3)]
    assert (len(packed.data_list), len(plain.data_list)) == (0, 3)


def test_datasets_are_joined_repeated_and_balanced(root: str) -> None:
    train, val = pets(root), pets(root, "val")
    both = ConcatDataset([train, val])
    assert [both.get_data_info(i)["img_label"] for i in range(len(both))] == [0, 1, 0, 1]

    repeated = RepeatDataset(train, times=5)
    assert len(repeated) == 15
    assert repeated.get_data_info(7)["img_path"] == train.get_data_info(1)["img_path"]

    # Class 1 has 1 of 3 samples: at a threshold of 4/3 it is repeated sqrt(4/3 / (1/3)) = 2 times,
    # class 0 with 2 of 3 samples sqrt(4/3 / (2/3)) = 1.41 times, rounded up.
    balanced = ClassBalancedDataset(train, oversample_thr=4 / 3)
    labels = [balanced.get_data_info(i)["img_label"] for i in range(len(balanced))]
    assert labels == [0, 0, 1, 1, 0, 0]
    assert len(ClassBalancedDataset(train, oversample_thr=1e-3)) == 3


@DATASETS.register_module()
class Reversed:
    """A wrapper of one's own, by the rules for lazy ones."""

    def __init__(self, dataset: Any, lazy_init: bool = False) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self._metainfo = self.dataset.metainfo
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        if not self._fully_initialized:
            self.dataset.full_init()
            self._fully_initialized = True

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> int:
        return len(self.dataset) - 1 - idx

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        return self.dataset.get_data_info(self._get_ori_dataset_idx(idx))

    def __getitem__(self, idx: int) -> Any:
        if not self._fully_initialized:
            warnings.warn("call full_init first", stacklevel=2)
            self.full_init()
        return self.dataset[self._get_ori_dataset_idx(idx)]

    @force_full_init
    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def metainfo(self) -> dict[str, Any]:
        return copy.deepcopy(self._metainfo)


def test_a_wrapper_of_ones_own_is_lazy_too(root: str) -> None:
    wrapped = DATASETS.build(
        {"type": "Reversed", "lazy_init": True, "dataset": pets(root, lazy_init=True)}
    )
    assert not wrapped.dataset._fully_initialized
    assert len(wrapped) == 3
    assert [wrapped[i]["img"].flat[0] for i in range(3)] == [2, 1, 0]


# Loaders


class Digits(torch.utils.data.Dataset):
    """In place of a set of torchvision: an image and its label."""

    def __init__(self, root: str, transform: Any = None) -> None:
        self.root = root
        self.transform = transform

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image: Any = np.full((2, 2), index, dtype=np.float32)
        return (image if self.transform is None else self.transform(image)), index


@DATASETS.register_module()
def build_digits(transform: Any = None, **kwargs: Any) -> Digits:
    """A dataset of another library, and its transforms, from nodes."""
    if isinstance(transform, dict):
        transform = [transform]
    if isinstance(transform, (list, tuple)):
        transform = Compose(transform)
    return Digits(**kwargs, transform=transform)


@TRANSFORMS.register_module()
class Shift:
    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, image: Any) -> Any:
        return image + self.by


def test_a_loader_from_a_node_is_that_of_pytorch() -> None:
    node = {
        "batch_size": 4,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": Digits("."),
        "collate_fn": {"type": "default_collate"},
    }
    dataset = Digits(".")
    plain = DataLoader(
        dataset, 4, sampler=DefaultSampler(dataset, shuffle=False), collate_fn=default_collate
    )
    for ours, theirs in zip(build_dataloader(node), plain, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_without_a_collate_function_samples_are_not_stacked() -> None:
    node = {"dataset": Digits("."), "sampler": {"type": "DefaultSampler"}, "batch_size": 3}
    images, labels = next(iter(build_dataloader(node)))
    assert not isinstance(images, np.ndarray | torch.Tensor)
    assert len(images) == len(labels) == 3


def test_a_dataset_of_another_library_and_its_transforms_from_nodes() -> None:
    node = {
        "batch_size": 6,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "collate_fn": {"type": "default_collate"},
        "dataset": {
            "type": "build_digits",
            "root": ".",
            "transform": [{"type": "Shift", "by": 1}, {"type": "Shift", "by": 0.5}],
        },
    }
    (batch,) = build_dataloader(node, seed=0)
    assert sorted(batch[0][:, 0, 0].tolist()) == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert batch[0][:, 0, 0].tolist() == [label + 1.5 for label in batch[1].tolist()]


@DATA_SAMPLERS.register_module()
class EvenFirst(Sampler):
    def __init__(self, dataset: Any) -> None:
        self.size = len(dataset)

    def __iter__(self) -> Iterator[int]:
        yield from range(0, self.size, 2)
        yield from range(1, self.size, 2)

    def __len__(self) -> int:
        return self.size


@FUNCTIONS.register_module()
def labels_only(data_batch: list[tuple[Any, int]], offset: int = 0) -> list[int]:
    return [label + offset for _, label in data_batch]


def test_a_sampler_and_a_collate_function_of_ones_own() -> None:
    node = {
        "batch_size": 3,
        "dataset": Digits("."),
        "sampler": {"type": "EvenFirst"},
        "collate_fn": {"type": "labels_only", "offset": 10},
    }
    assert list(build_dataloader(node)) == [[10, 12, 14], [11, 13, 15]]


def test_a_loader_that_is_built_stays_as_it_is() -> None:
    loader = DataLoader(Digits("."))
    assert build_dataloader(loader) is loader
