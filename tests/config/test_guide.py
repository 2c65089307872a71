"""The chapter on configs of the reference guide, example by example, under our names."""
# ruff: noqa: C408 (configs are written with dict())

from __future__ import annotations

import argparse
import sys

import pytest

from drivetrain.config import Config, ConfigDict, DictAction, DuplicateKeyError

OPTIMIZER = "optimizer = dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=0.0001)\n"
RESNET50 = "_base_ = ['optimizer_cfg.py']\nmodel = dict(type='ResNet', depth=50)\n"


@pytest.fixture
def chain(write):
    write("optimizer_cfg.py", OPTIMIZER)
    write("resnet50.py", RESNET50)
    write("runtime_cfg.py", "gpu_ids = [0, 1]\n")
    return write


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "config.py",
            """
            test_int = 1
            test_list = [1, 2, 3]
            test_dict = dict(key1='value1', key2=0.1)
            """,
        ),
        (
            "config.json",
            """
            {
              "test_int": 1,
              "test_list": [1, 2, 3],
              "test_dict": {"key1": "value1", "key2": 0.1}
            }
            """,
        ),
        (
            "config.yml",
            """
            test_int: 1
            test_list: [1, 2, 3]
            test_dict:
              key1: "value1"
              key2: 0.1
            """,
        ),
    ],
)
def test_three_formats_give_one_result(write, name, text) -> None:
    write(name, text)

    cfg = Config.fromfile(name)

    assert str(cfg) == (
        f"Config (path: {name}): {{'test_int': 1, 'test_list': [1, 2, 3], "
        "'test_dict': {'key1': 'value1', 'key2': 0.1}}"
    )


def test_values_are_read_and_set_as_items_and_as_attributes(write) -> None:
    write("c.py", "test_int = 1\ntest_list = [1, 2, 3]\ntest_dict = dict(key1='value1', key2=0.1)")
    cfg = Config.fromfile("c.py")

    cfg.test_int = 2
    cfg["test_list"][1] = 3

    assert cfg["test_int"] == 2
    assert cfg.test_list == [1, 3, 3]
    assert cfg["test_dict"] == {"key1": "value1", "key2": 0.1}
    assert isinstance(cfg.test_dict, ConfigDict)


def test_a_value_can_be_added_to_a_node(write) -> None:
    write("config_sgd.py", "optimizer = dict(type='SGD', lr=0.1)")
    cfg = Config.fromfile("config_sgd.py")

    cfg.optimizer.params = parameters = iter([1, 2])

    assert cfg.optimizer.params is parameters


def test_a_file_inherits_what_its_base_says(chain) -> None:
    cfg = Config.fromfile("resnet50.py")

    assert cfg.optimizer == dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=0.0001)
    assert cfg.model == dict(type="ResNet", depth=50)


def test_a_file_inherits_from_several_bases(chain) -> None:
    chain(
        "resnet50_runtime.py",
        """
        _base_ = ['optimizer_cfg.py', 'runtime_cfg.py']
        model = dict(type='ResNet', depth=50)
        """,
    )

    assert set(Config.fromfile("resnet50_runtime.py")) == {"optimizer", "gpu_ids", "model"}


def test_bases_that_repeat_a_key_are_refused(chain) -> None:
    chain("again.py", "gpu_ids = [2]")
    chain("both.py", "_base_ = ['runtime_cfg.py', 'again.py']")

    with pytest.raises(DuplicateKeyError, match=r"'gpu_ids' is defined by .*runtime_cfg.*again"):
        Config.fromfile("both.py")


def test_an_inherited_dict_changes_key_by_key_and_a_list_whole(chain) -> None:
    chain(
        "resnet50_lr0.01.py",
        """
        _base_ = ['optimizer_cfg.py', 'runtime_cfg.py']
        model = dict(type='ResNet', depth=50)
        optimizer = dict(lr=0.01)
        gpu_ids = [0]
        """,
    )
    cfg = Config.fromfile("resnet50_lr0.01.py")

    assert cfg.optimizer == dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0001)
    assert cfg.gpu_ids == [0]


def test_delete_drops_the_inherited_keys(chain) -> None:
    chain(
        "resnet50_delete_key.py",
        """
        _base_ = ['optimizer_cfg.py', 'runtime_cfg.py']
        model = dict(type='ResNet', depth=50)
        optimizer = dict(_delete_=True, type='SGD', lr=0.01)
        """,
    )

    assert Config.fromfile("resnet50_delete_key.py").optimizer == dict(type="SGD", lr=0.01)


def test_a_template_refers_to_an_inherited_field(chain) -> None:
    chain("refer_base_var.py", "_base_ = ['resnet50.py']\na = {{_base_.model}}\n")

    assert Config.fromfile("refer_base_var.py").a == dict(type="ResNet", depth=50)


def test_a_python_file_modifies_an_inherited_field(chain) -> None:
    chain(
        "modify_base_var.py",
        """
        _base_ = ['resnet50.py']
        a = _base_.model
        a.type = 'MobileNet'
        """,
    )
    cfg = Config.fromfile("modify_base_var.py")

    assert cfg.a == cfg.model == dict(type="MobileNet", depth=50)
    cfg.a.depth = 18
    assert cfg.model.depth == 50


@pytest.mark.parametrize("name", ["dump.py", "dump.json", "dump.yaml"])
def test_a_dumped_config_stands_without_its_bases(chain, tmp_path, name) -> None:
    cfg = Config.fromfile("resnet50.py")

    cfg.dump(name)
    (tmp_path / "optimizer_cfg.py").unlink()

    assert Config.fromfile(name) == cfg


def test_a_config_made_from_a_dict_can_be_dumped(write, tmp_path) -> None:
    write("unused.py", "")
    Config(dict(a=1, b=2)).dump("dump_dict.py")

    assert (tmp_path / "dump_dict.py").read_text() == "a = 1\nb = 2\n"


def test_predefined_fields_tell_where_the_file_is(write, tmp_path) -> None:
    write(
        "predefined_var.py",
        """
        work_dir = './work_dir/{{fileBasenameNoExtension}}'
        folder = '{{ fileDirname }}'
        name = '{{fileBasename}}'
        extension = '{{ fileExtname }}'
        """,
    )
    cfg = Config.fromfile("./predefined_var.py")

    assert cfg.work_dir == "./work_dir/predefined_var"
    assert cfg.folder == str(tmp_path)
    assert (cfg.name, cfg.extension) == ("predefined_var.py", ".py")


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("arguments", "model", "optimizer"),
    [
        (["--cfg-options", "optimizer.lr=0.1"], [1, 2, 3], dict(type="SGD", lr=0.1)),
        (["--cfg-options", "model.in_channels=[1, 1, 1]"], [1, 1, 1], dict(type="SGD", lr=0.01)),
        (
            ["--cfg-options", "optimizer.type=Adam", "--cfg-options", "model.in_channels=1,1,1"],
            [1, 1, 1],
            dict(type="Adam", lr=0.01),
        ),
    ],
    ids=["a number", "a list", "several uses add up"],
)
def test_fields_are_modified_from_the_command_line(write, arguments, model, optimizer) -> None:
    write(
        "example.py",
        """
        model = dict(type='CustomModel', in_channels=[1, 2, 3])
        optimizer = dict(type='SGD', lr=0.01)
        """,
    )
    args = parse("./example.py", *arguments)
    cfg = Config.fromfile(args.config)

    cfg.merge_from_dict(args.cfg_options)

    assert cfg == dict(model=dict(type="CustomModel", in_channels=model), optimizer=optimizer)


@pytest.mark.parametrize("set_to", [None, "/new/dataset/path/"])
def test_an_environment_variable_reaches_what_is_computed_from_it(
    write, monkeypatch, set_to
) -> None:
    write(
        "replace_data_root.py",
        """
        dataset_type = 'CocoDataset'
        data_root = '{{$DATASET:/data/coco/}}'
        dataset=dict(ann_file= data_root + 'train.json')
        """,
    )
    if set_to:
        monkeypatch.setenv("DATASET", set_to)
    else:
        monkeypatch.delenv("DATASET", raising=False)
    root = set_to or "/data/coco/"

    cfg = Config.fromfile("replace_data_root.py")

    assert cfg.data_root == root
    assert cfg.dataset.ann_file == root + "train.json"
    assert cfg.env_variables == ({"DATASET": set_to} if set_to else {})


@pytest.mark.parametrize(("set_to", "classes"), [(None, 80), ("20", 20)])
def test_the_quoted_form_of_an_environment_variable_keeps_the_type(
    write, monkeypatch, set_to, classes
) -> None:
    write("n.py", "model=dict(\n    bbox_head=dict(\n        num_classes={{'$NUM_CLASSES:80'}}))")
    if set_to:
        monkeypatch.setenv("NUM_CLASSES", set_to)

    assert Config.fromfile("n.py").model.bbox_head.num_classes == classes


def test_custom_imports_import_the_module(write, monkeypatch, tmp_path) -> None:
    write("my_module_of_the_guide.py", "loaded = True\n")
    write(
        "custom_imports.py",
        """
        custom_imports = dict(imports=['my_module_of_the_guide'], allow_failed_imports=False)
        optimizer = dict(type='CustomOptim')
        """,
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    cfg = Config.fromfile("custom_imports.py")

    assert cfg.optimizer.type == "CustomOptim"
    assert sys.modules.pop("my_module_of_the_guide").loaded


def test_a_config_inherits_from_an_installed_package(write, monkeypatch, tmp_path) -> None:
    write("site/otherdet/__init__.py", "raise RuntimeError('a base must not import its package')")
    write(
        "site/otherdet/.mim/configs/_base_/schedule.py",
        """
        train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
        pipeline = [dict(type='Load', inner=dict(type='Inner'))]
        """,
    )
    write("cross_repo.py", "_base_ = ['otherdet::_base_/schedule.py']\nown = dict(type='Mine')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    cfg = Config.fromfile("cross_repo.py")

    assert cfg.train_cfg == dict(
        type="EpochBasedTrainLoop", max_epochs=12, val_interval=1, _scope_="otherdet"
    )
    assert cfg.pipeline == [dict(type="Load", inner=dict(type="Inner"), _scope_="otherdet")]
    assert cfg.own == dict(type="Mine")
