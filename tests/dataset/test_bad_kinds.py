"""Arguments of the wrong kind are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drivetrain.dataset import (
    AnnotationError,
    BaseDataset,
    DatasetArgumentError,
    LoaderConfigError,
    build_dataloader,
)


@pytest.fixture
def ann_file(tmp_path: Path) -> str:
    path = tmp_path / "annotations.json"
    entries = [{"img_path": f"{i}.jpg"} for i in range(5)]
    path.write_text(json.dumps({"metainfo": {}, "data_list": entries}), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ann_file": 3}, "ann_file should be a path, got 3"),
        ({"data_root": 4}, "data_root should be a path, got 4"),
        ({"data_prefix": 3}, "data_prefix should be a mapping"),
        ({"max_refetch": "a"}, "max_refetch should be an integer, got 'a'"),
        ({"pipeline": 3}, "a pipeline is a list of transforms or their nodes, got 3"),
        ({"pipeline": {"type": "Resize"}}, "a pipeline is a list of transforms"),
        ({"indices": [True, False]}, "it contains True"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(ann_file, options, text) -> None:
    with pytest.raises(DatasetArgumentError, match=text):
        BaseDataset(**{"ann_file": ann_file, **options})


def test_a_path_that_is_none_is_an_error_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "holes.json"
    path.write_text('{"metainfo": {}, "data_list": [{"img_path": null}]}', encoding="utf-8")
    with pytest.raises(AnnotationError, match=r"holes\.json: .*'img_path', which must be a path"):
        BaseDataset(str(path))


def test_a_sampler_that_is_none_is_refused_before_the_first_batch(ann_file) -> None:
    with pytest.raises(LoaderConfigError, match="'sampler' of a dataloader is a sampler or its"):
        build_dataloader({"dataset": BaseDataset(ann_file), "sampler": 3, "batch_size": 2})


@pytest.mark.parametrize(
    "wrong", [{"seed": None}, {"epoch": -1}, {"samples": -2}, {"batches": "a"}], ids=str
)
def test_a_position_that_cannot_be_changes_nothing(ann_file, wrong) -> None:
    sampler = {"type": "DefaultSampler", "shuffle": False}
    node = {"dataset": BaseDataset(ann_file), "sampler": sampler, "batch_size": 2}
    loader = build_dataloader(node, seed=0)
    before = loader.state_dict()
    with pytest.raises(LoaderConfigError, match=f"'{next(iter(wrong))}' must be an integer"):
        loader.load_state_dict({**before, **wrong})
    assert loader.state_dict() == before
