"""What cannot work is refused with its place and a remedy."""

from __future__ import annotations

import importlib.metadata
import json

import pytest

from drivetrain.dataset import (
    AnnotationError,
    BaseDataset,
    CollateError,
    LoaderConfigError,
    build_dataloader,
    default_collate,
    pseudo_collate,
    set_epoch,
)
from drivetrain.registry import building


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"metainfo": [1], "data_list": []}, "'metainfo' must be a mapping, got list"),
        ({"metainfo": {}, "data_list": 3}, "'data_list' must be a list, got int"),
        ({"metainfo": {}, "data_list": [3]}, "an entry of 'data_list' must be a mapping, got int"),
        (None, "cannot be read"),
    ],
    ids=["metainfo", "data_list", "entry", "cut off"],
)
def test_a_broken_annotation_file_is_named(tmp_path, content, text):
    path = tmp_path / "ann.json"
    path.write_text('{"metainfo": {' if content is None else json.dumps(content))
    dataset = BaseDataset(str(path), lazy_init=True)
    with pytest.raises(AnnotationError, match=text) as caught:
        dataset.full_init()
    assert str(path) in str(caught.value)
    assert dataset.metainfo == {}


def test_an_unknown_option_of_a_loader_is_refused_with_the_nearest():
    node = {"dataset": [1], "sampler": {"type": "DefaultSampler"}, "batchsize": 3}
    with pytest.raises(
        LoaderConfigError, match=r"no option 'batchsize'\. Did you mean 'batch_size'"
    ):
        build_dataloader(node)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batch_size of a dataloader must be an integer from 1 on, got 0"),
        ({"batch_size": "4"}, "batch_size .* got '4'"),
        ({"num_workers": -1}, "num_workers of a dataloader must be an integer from 0 on, got -1"),
        ({"timeout": -1}, "PyTorch refuses these options of a dataloader: timeout"),
        ({"prefetch_factor": 2}, "PyTorch refuses these options of a dataloader: prefetch_factor"),
        ({"sampler": ...}, "a dataloader node needs a 'sampler'"),
        ({"collate_fn": "colate"}, "no function 'colate'"),
        ({"dataset": []}, "the dataloader would yield no batch"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_wrong_option_of_a_loader_is_named_with_its_place(options, text):
    node = {"dataset": [1], "sampler": {"type": "DefaultSampler"}, **options}
    node = {key: value for key, value in node.items() if value is not ...}
    with (
        building("train_dataloader"),
        pytest.raises(ValueError, match=f"^train_dataloader: {text}"),
    ):
        build_dataloader(node)


def test_a_negative_epoch_is_refused():
    loader = build_dataloader({"dataset": [1], "sampler": {"type": "DefaultSampler"}})
    with pytest.raises(LoaderConfigError, match="set_epoch"):
        set_epoch(loader, -1)


@pytest.mark.parametrize("collate", [pseudo_collate, default_collate])
def test_an_empty_batch_is_refused(collate):
    with pytest.raises(CollateError, match="no sample"):
        collate([])


def test_every_entry_point_registers_something():
    import drivetrain.registry as registry

    points = importlib.metadata.distribution("drivetrain-dataset").entry_points
    names = {p.name.split(".")[1] for p in points if p.group == "drivetrain.components"}
    roots = {r.name: r for r in vars(registry).values() if isinstance(r, registry.Registry)}
    registered = {
        name
        for name in names
        if any(m.__module__.startswith("drivetrain.dataset") for m in _of(roots[name]))
    }
    assert registered == names


def _of(registry):
    return list(registry.module_dict.values())
