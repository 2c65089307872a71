"""BaseDataset: from an annotation file to prepared samples."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from drivetrain.dataset import (
    AnnotationError,
    AnnotationNotFoundError,
    BaseDataset,
    DatasetArgumentError,
    MetainfoError,
    SampleError,
    SubsetError,
    TransformError,
    force_full_init,
)
from drivetrain.fileio import dump

ENTRIES = [{"img_path": f"{i}.jpg", "img_label": i % 2, "height": 10 + i} for i in range(6)]


@pytest.fixture
def root(tmp_path):
    annotations = {"metainfo": {"classes": ["cat", "dog"], "task": "file"}, "data_list": ENTRIES}
    (tmp_path / "annotations").mkdir()
    for suffix in ("json", "yaml", "pkl"):
        dump(annotations, tmp_path / "annotations" / f"train.{suffix}")
    return tmp_path


def dataset_in(root, kind=BaseDataset, ann_file="annotations/train.json", **kwargs):
    return kind(data_root=str(root), ann_file=ann_file, **kwargs)


class Labelled(BaseDataset):
    METAINFO = {"task": "class", "palette": [1, 2]}

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)["img_label"]]


@pytest.mark.parametrize("suffix", ["json", "yaml", "pkl"])
def test_annotations_come_from_json_yaml_or_pickle(root, suffix):
    dataset = dataset_in(root, ann_file=f"annotations/train.{suffix}")
    assert len(dataset) == 6
    assert dataset.get_data_info(1)["img_label"] == 1


def test_paths_are_joined_to_prefix_and_root(root):
    dataset = dataset_in(root, data_prefix={"img_path": "train/"})
    assert dataset.get_data_info(0)["img_path"] == f"{root}/train/0.jpg"
    assert dataset.ann_file == f"{root}/annotations/train.json"


def test_absolute_paths_and_urls_are_left_alone(root):
    dataset = dataset_in(
        root, ann_file=f"{root}/annotations/train.json", data_prefix={"img_path": "s3://bucket/x"}
    )
    assert dataset.get_data_info(0)["img_path"] == "s3://bucket/x/0.jpg"


def test_metainfo_counts_by_source_argument_then_class_then_file(root):
    dataset = dataset_in(root, Labelled, metainfo={"palette": [3]})
    assert dataset.metainfo == {"task": "class", "palette": [3], "classes": ["cat", "dog"]}


def test_metainfo_is_a_copy(root):
    dataset = dataset_in(root)
    dataset.metainfo["classes"].append("bird")
    assert dataset.metainfo["classes"] == ["cat", "dog"]
    assert Labelled.METAINFO == {"task": "class", "palette": [1, 2]}


def test_a_metainfo_value_that_names_a_file_stands_for_its_lines(root, tmp_path):
    names = tmp_path / "classes.txt"
    names.write_text("bird\nfish\n")
    dataset = dataset_in(root, metainfo={"classes": str(names), "task": "no such file"})
    assert dataset.metainfo["classes"] == ["bird", "fish"]
    assert dataset.metainfo["task"] == "no such file"


def test_an_entry_has_its_index_and_is_a_new_object_each_time(root):
    for serialize in (True, False):
        dataset = dataset_in(root, serialize_data=serialize)
        entry = dataset.get_data_info(2)
        assert entry["sample_idx"] == 2
        entry["img_label"] = "changed"
        assert dataset.get_data_info(2)["img_label"] == 0
        assert dataset.get_data_info(-1)["sample_idx"] == 5


@pytest.mark.parametrize("serialize", [True, False])
def test_an_index_out_of_range_is_an_index_error(root, serialize):
    dataset = dataset_in(root, serialize_data=serialize)
    for index in (6, -7):
        with pytest.raises(IndexError, match=f"BaseDataset: no sample {index}, there are 6"):
            dataset.get_data_info(index)


def test_a_dataset_can_be_walked_through(root):
    assert [entry["height"] for entry in dataset_in(root)] == [10, 11, 12, 13, 14, 15]


def test_samples_pass_through_the_pipeline(root):
    pipeline = [lambda e: {**e, "area": e["height"] ** 2}, lambda e: e["area"]]
    assert dataset_in(root, pipeline=pipeline)[1] == 121


def test_lazy_init_reads_nothing_until_it_must(root):
    dataset = dataset_in(root, lazy_init=True, ann_file="missing.json", metainfo={"a": 1})
    assert dataset.metainfo == {"a": 1}
    with pytest.raises(FileNotFoundError):
        dataset.full_init()


@pytest.mark.parametrize(
    "use",
    [
        len,
        lambda d: d.get_data_info(0),
        lambda d: d.get_subset(2),
        lambda d: d.get_subset_(2),
    ],
    ids=["len", "get_data_info", "get_subset", "get_subset_"],
)
def test_what_needs_the_annotations_reads_them(root, use):
    dataset = dataset_in(root, lazy_init=True)
    use(dataset)
    assert dataset._fully_initialized


def test_reading_a_sample_of_an_uninitialized_dataset_warns(root):
    dataset = dataset_in(root, lazy_init=True)
    with pytest.warns(UserWarning, match="full_init"):
        assert dataset[0]["height"] == 10


def test_full_init_reads_once(root):
    class Counting(BaseDataset):
        loads = 0

        def load_data_list(self):
            self.loads += 1
            return super().load_data_list()

    dataset = dataset_in(root, Counting)
    dataset.full_init()
    assert dataset.loads == 1


def test_force_full_init_needs_a_full_init():
    class Half:
        @force_full_init
        def use(self):
            return 1

    with pytest.raises(AttributeError, match="Half has no method full_init"):
        Half().use()


class Tall(BaseDataset):
    def filter_data(self):
        return [e for e in self.data_list if e["height"] >= self.filter_cfg["min_height"]]


def test_filter_data_leaves_entries_out(root):
    assert len(dataset_in(root, Tall, filter_cfg={"min_height": 13})) == 3


def test_indices_apply_after_the_filter(root):
    dataset = dataset_in(root, Tall, filter_cfg={"min_height": 13}, indices=1)
    assert [e["height"] for e in dataset] == [13]


class Video(BaseDataset):
    def parse_data_info(self, raw):
        return [{"frame": f, **raw} for f in range(raw["img_label"])]


def test_an_entry_may_become_several_samples_or_none(root):
    assert len(dataset_in(root, Video)) == 3


class Streamed(BaseDataset):
    def load_data_list(self):
        yield from ({"number": i} for i in range(5))


@pytest.mark.parametrize("serialize", [True, False])
def test_entries_may_be_yielded_one_by_one(serialize):
    dataset = Streamed(serialize_data=serialize, indices=-2)
    assert [e["number"] for e in dataset] == [3, 4]


SUBSETS = {
    "first": (2, [0, 1]),
    "last": (-2, [4, 5]),
    "none": (0, []),
    "all": (6, [0, 1, 2, 3, 4, 5]),
    "all-from-the-end": (-6, [0, 1, 2, 3, 4, 5]),
    "chosen": ([3, 1, 3], [3, 1, 3]),
    "tuple": ((0, -1), [0, 5]),
    "array": (np.array([2, 4]), [2, 4]),
    "empty": ([], []),
}


@pytest.mark.parametrize("serialize", [True, False])
@pytest.mark.parametrize(("indices", "expected"), SUBSETS.values(), ids=SUBSETS)
def test_indices_choose_samples(root, serialize, indices, expected):
    def rows(dataset):
        return [entry["height"] - 10 for entry in dataset]

    whole = dataset_in(root, serialize_data=serialize)
    assert rows(whole.get_subset(indices)) == expected
    assert len(whole) == 6
    whole.get_subset_(indices)
    assert rows(whole) == expected
    assert rows(dataset_in(root, serialize_data=serialize, indices=indices)) == expected


def test_a_subset_of_a_subset(root):
    subset = dataset_in(root).get_subset([5, 3, 1]).get_subset([2, 0])
    assert [e["height"] for e in subset] == [11, 15]


@pytest.mark.parametrize("serialize", [True, False])
@pytest.mark.parametrize(
    ("indices", "error", "text"),
    [
        (1.5, DatasetArgumentError, "should be a int or sequence of int, got float"),
        ("12", DatasetArgumentError, "got str"),
        (True, DatasetArgumentError, "got bool"),
        ([0, "a"], DatasetArgumentError, "contains 'a'"),
        ([0, 6], SubsetError, "contain 6, and the dataset has 6 samples"),
        (7, SubsetError, "BaseDataset .*: indices ask for 7 samples, and the dataset has 6"),
        (-7, SubsetError, "ask for 7 samples"),
    ],
)
def test_wrong_indices_are_refused_and_change_nothing(root, serialize, indices, error, text):
    dataset = dataset_in(root, serialize_data=serialize)
    with pytest.raises(error, match=text):
        dataset.get_subset_(indices)
    assert len(dataset) == 6
    with pytest.raises(error, match=text):
        dataset_in(root, serialize_data=serialize, indices=indices)


def test_a_pipeline_that_refuses_a_sample_gets_another(root):
    def only_even(entry):
        return entry if entry["img_label"] == 0 else None

    dataset = dataset_in(root, pipeline=[only_even])
    assert {dataset[1]["img_label"] for _ in range(20)} == {0}


def test_max_refetch_bounds_the_search(root):
    tried = []
    dataset = dataset_in(root, pipeline=[tried.append], max_refetch=3)
    with pytest.raises(SampleError, match=r"sample 1 \(img_path=.*1.jpg'\).*for 3 others"):
        dataset[1]
    assert len(tried) == 4


def test_max_refetch_is_not_negative(root):
    with pytest.raises(DatasetArgumentError, match=r"max_refetch counts .* cannot be -1"):
        dataset_in(root, max_refetch=-1)


def test_in_test_mode_no_sample_is_replaced(root):
    dataset = dataset_in(root, pipeline=[lambda entry: None], test_mode=True)
    with pytest.raises(SampleError, match=r"sample 0 .*returned None in test mode"):
        dataset[0]


def fail_on_three(entry):
    if entry["height"] == 13:
        raise FileNotFoundError(f"no image {entry['img_path']}")
    return entry


def test_a_failing_transform_is_named_with_sample_and_file(root):
    dataset = dataset_in(root, pipeline=[copy.copy, fail_on_three])
    with pytest.raises(
        TransformError,
        match=r"sample 3 \(img_path='.*3.jpg'\): transform 1 \(fail_on_three\) raised "
        r"FileNotFoundError: no image",
    ) as caught:
        dataset[3]
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_failing_transform_is_still_the_error_that_it_raised(root):
    with pytest.raises(FileNotFoundError):
        dataset_in(root, pipeline=[fail_on_three])[3]


BAD_FILES = {
    "a-list": ([1], "holds a mapping with 'metainfo' and 'data_list', this one a list"),
    "no-data-list": ({"metainfo": {}}, "lacks 'data_list'.*keys: .'metainfo'"),
    "neither": ({"a": 1}, "lacks 'data_list' and 'metainfo'"),
    "no-path": (
        {"metainfo": {}, "data_list": [{"a": 1}]}, r"names the field 'img_path'.*fields: \['a'\]"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "text"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_breaks_the_format_is_named_with_what_is_wrong(tmp_path, content, text):
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match=f"bad.json: .*{text}"):
        dataset_in(tmp_path, ann_file="bad.json")


def test_a_missing_file_is_named_with_where_it_was_looked_for(tmp_path):
    with pytest.raises(AnnotationNotFoundError, match=r"nope.json.*data_root=.*working directory"):
        dataset_in(tmp_path, ann_file="nope.json")


def test_no_file_at_all_says_what_to_do():
    with pytest.raises(AnnotationNotFoundError, match=r"no ann_file is given.*load_data_list"):
        BaseDataset()


@pytest.mark.parametrize("parsed", [3, [1], "x"])
def test_parse_data_info_must_return_entries(root, parsed):
    class Wrong(BaseDataset):
        def parse_data_info(self, raw):
            return parsed

    with pytest.raises(DatasetArgumentError, match=r"entry 0: Wrong.parse_data_info must return"):
        dataset_in(root, Wrong)


def test_metainfo_must_be_a_mapping(root):
    with pytest.raises(MetainfoError, match="metainfo must be a mapping, got list"):
        dataset_in(root, metainfo=[1])


def test_prefixes_must_be_strings(root):
    with pytest.raises(DatasetArgumentError, match=r"data_prefix\['img_path'\].*got int"):
        dataset_in(root, data_prefix={"img_path": 1})


def test_get_cat_ids_says_what_to_override(root):
    with pytest.raises(NotImplementedError, match=r"BaseDataset.get_cat_ids: override it"):
        dataset_in(root).get_cat_ids(0)


@pytest.mark.parametrize("serialize", [True, False])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_a_dataset_can_be_copied_and_pickled(root, serialize, copied):
    dataset = dataset_in(root, serialize_data=serialize, indices=[1, 3])
    assert list(copied(dataset)) == list(dataset)


def test_packed_entries_are_not_kept_as_a_list_too(root):
    assert dataset_in(root).data_list == []
    assert len(dataset_in(root, serialize_data=False).data_list) == 6


class Downstream(BaseDataset):
    """Writes its own ``full_init``, as detection libraries do."""

    def full_init(self):
        if self._fully_initialized:
            return
        self.data_list = self.load_data_list()
        self.data_list = self.filter_data()
        if self._indices is not None:
            self.data_list = self._get_unserialized_subset(self._indices)
        if self.serialize_data:
            self.data_bytes, self.data_address = self._serialize_data()
        self._fully_initialized = True


@pytest.mark.parametrize("serialize", [True, False])
def test_a_full_init_written_downstream_works(root, serialize):
    dataset = dataset_in(root, Downstream, indices=[4, 2], serialize_data=serialize)
    assert [entry["height"] for entry in dataset] == [14, 12]
    assert len(dataset.data_address) == (2 if serialize else 0)


def test_the_packed_bytes_can_be_read(root):
    dataset = dataset_in(root)
    start, end = dataset.data_address[[1, 2]]
    assert pickle.loads(dataset.data_bytes[start:end])["height"] == 12
