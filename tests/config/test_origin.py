"""Where a value comes from: file and line, what it replaced, and by what means."""
# ruff: noqa: C408 (configs are written with dict())

from __future__ import annotations

import copy
import pickle

import pytest

from drivetrain.config import Config, UnknownKeyError, apply_overrides, explain, show


def places(cfg: Config, path: str) -> list[str]:
    return [str(origin) for origin in cfg.origin(path)]


@pytest.fixture
def chain(write):
    write(
        "base.py",
        """
        lr = 0.1
        optimizer = dict(
            type='SGD',
            lr=lr,
            betas=[0.9,
                   0.99],
        )
        pipeline = [dict(type='Load', n=1),
                    dict(type='Flip', p=0.5)]
        for i in range(3):
            optimizer['extra'] = i
        optimizer.update(dict(late=1), later=2)
        gone = dict(a=1)
        dataset = dict(type='D')
        loader = dict(dataset=dataset, shuffle=bool(1))
        """,
    )
    write(
        "mid.yaml",
        """
        _base_: base.py
        optimizer:
          lr: {{$DT_LR:0.2}}
          momentum: 0.9
        new:
          - a: 1
          - b: 2
        gone: {_delete_: true, b: 1}
        """,
    )
    write(
        "top.json",
        """
        {
        \t"_base_": "mid.yaml",
        \t"optimizer": {
        \t\t"momentum": 0.8,
        \t\t"nested": {"x": {{_base_.optimizer.lr}}}
        \t}
        }
        """,
    )
    return write


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("lr", ["base.py:1"]),
        ("optimizer.type", ["base.py:3"]),
        ("optimizer.lr", ["mid.yaml:3 (default of environment variable DT_LR)", "base.py:4"]),
        ("optimizer.betas.1", ["base.py:6"]),
        ("optimizer.extra", ["base.py:11"]),
        ("optimizer.late", ["base.py:12"]),
        ("optimizer.later", ["base.py:12"]),
        ("optimizer.momentum", ["top.json:4", "mid.yaml:4"]),
        ("optimizer.nested.x", ["top.json:5"]),
        ("pipeline.0.n", ["base.py:8"]),
        ("pipeline.1.p", ["base.py:9"]),
        ("pipeline.-1.p", ["base.py:9"]),
        ("new.1.b", ["mid.yaml:7"]),
        ("gone.b", ["mid.yaml:8"]),
        ("loader.dataset.type", ["base.py:14"]),
        ("loader.shuffle", ["base.py:15"]),
    ],
)
def test_each_leaf_knows_its_file_and_line(chain, path, expected) -> None:
    assert places(Config.fromfile("top.json"), path) == expected


def test_a_variable_of_the_environment_is_named(chain, monkeypatch) -> None:
    monkeypatch.setenv("DT_LR", "0.5")
    current, replaced = Config.fromfile("mid.yaml").origin("optimizer.lr")

    assert (current.value, replaced.value) == (0.5, 0.1)
    assert current.how == "environment variable DT_LR"
    assert (current.kind, current.filename, current.lineno) == ("file", "mid.yaml", 3)


def test_overrides_and_changes_by_the_program_are_part_of_the_chain(chain) -> None:
    cfg = Config.fromfile("top.json")
    apply_overrides(cfg, ["optimizer.lr=1", "+tag=x", "pipeline.0.n=7"])
    cfg.merge_from_dict({"optimizer.lr": 2})
    cfg.optimizer.momentum = 0.5

    assert [origin.value for origin in cfg.origin("optimizer.lr")] == [2, 1, 0.2, 0.1]
    assert places(cfg, "optimizer.lr")[:2] == ["merge_from_dict", "command line"]
    assert places(cfg, "tag") == ["command line"]
    assert places(cfg, "pipeline.0.n") == ["command line", "base.py:8"]
    assert places(cfg, "optimizer.momentum") == ["the program", "top.json:4", "mid.yaml:4"]


def test_what_a_delete_cut_off_is_not_in_the_chain(chain) -> None:
    chain("c.py", "_base_ = 'base.py'\noptimizer = dict(_delete_=True, lr=3)")
    cfg = Config.fromfile("c.py")

    assert places(cfg, "optimizer.lr") == ["c.py:2"]


def test_a_list_that_was_replaced_whole_is_followed_by_index(chain) -> None:
    chain("c.py", "_base_ = 'base.py'\npipeline = [\n    dict(type='Only'),\n]")
    cfg = Config.fromfile("c.py")

    assert places(cfg, "pipeline.0.type") == ["c.py:3", "base.py:8"]


def test_pure_python_files_have_origins_too(write) -> None:
    write(
        "base.py",
        """
        from somewhere import Net
        model = dict(type=Net,
                     depth=3)
        optimizer = dict(lr=1)
        """,
    )
    write(
        "top.py",
        """
        from drivetrain.config import read_base
        with read_base():
            from .base import *
        optimizer.update(lr=4)
        model.depth = 5
        model['width'] = 6
        """,
    )
    cfg = Config.fromfile("top.py")

    assert places(cfg, "model.type") == ["base.py:2"]
    assert places(cfg, "model.depth") == ["top.py:5", "base.py:3"]
    assert places(cfg, "model.width") == ["top.py:6"]
    assert places(cfg, "optimizer.lr") == ["top.py:4", "base.py:4"]


def test_an_update_is_the_origin_of_what_it_names_only(write) -> None:
    write("base.py", "model = dict(net=dict(depth=3,\n  width=4))")
    write(
        "top.py",
        """
        from drivetrain.config import read_base
        with read_base():
            from .base import *
        model.update(dict(
            net=dict(depth=5)))
        """,
    )
    cfg = Config.fromfile("top.py")

    assert places(cfg, "model.net.depth") == ["top.py:5", "base.py:1"]
    assert places(cfg, "model.net.width") == ["base.py:2"]


def test_an_edit_of_the_bases_is_an_origin(write) -> None:
    write("base.py", "optim = dict(lr=1, wd=2)\nx = 1")
    write("top.py", "_base_ = 'base.py'\n_base_.optim.lr = 0.02\n_base_.x = 2")
    cfg = Config.fromfile("top.py")

    assert places(cfg, "optim.lr") == ["top.py:2", "base.py:1"]
    assert places(cfg, "optim.wd") == ["base.py:1"]
    assert places(cfg, "x") == ["top.py:3", "base.py:2"]


def test_a_config_without_files_comes_from_the_program() -> None:
    cfg = Config(dict(a=dict(b=1)))

    assert places(cfg, "a.b") == ["the program"]


def test_origins_survive_copies_and_pickling(chain) -> None:
    cfg = Config.fromfile("top.json")
    cfg.merge_from_dict({"lr": 5})

    for other in (copy.deepcopy(cfg), copy.copy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert places(other, "optimizer.momentum") == ["top.json:4", "mid.yaml:4"]
        assert [origin.value for origin in other.origin("lr")] == [5, 0.1]


def test_an_unknown_path_names_the_nearest(chain) -> None:
    with pytest.raises(UnknownKeyError, match=r"no 'optimizer.lrr'; did you mean 'optimizer.lr'"):
        Config.fromfile("top.json").origin("optimizer.lrr")


def test_explain_and_show_read_well(chain) -> None:
    cfg = Config.fromfile("mid.yaml")
    apply_overrides(cfg, ["optimizer.lr=3"])

    assert explain(cfg, "optimizer.lr") == (
        "optimizer.lr = 3\n"
        "  set by    command line\n"
        "  replaced  0.2  from mid.yaml:3 (default of environment variable DT_LR)\n"
        "  replaced  0.1  from base.py:4\n"
    )
    assert "optimizer.momentum = 0.9   # mid.yaml:4\n" in show(cfg, origins=True)
    assert show(cfg) == cfg.pretty_text


def test_computed_values_lead_to_the_line_that_computes_them(write) -> None:
    write(
        "c.py",
        """
        def make(n):
            return dict(size=n)
        a = make(3)
        b = dict(**a,
                 x=1)
        c = [make(i) for i in range(2)]
        if a:
            d = dict(e=1)
        """,
    )
    cfg = Config.fromfile("c.py")

    assert places(cfg, "a.size") == ["c.py:3"]
    assert places(cfg, "b.size") == ["c.py:4"]
    assert places(cfg, "b.x") == ["c.py:5"]
    assert places(cfg, "c.1.size") == ["c.py:6"]
    assert places(cfg, "d.e") == ["c.py:8"]


def test_a_pure_python_config_has_from_a_base_only_what_it_imports(write):
    """A base that one name is imported from does not explain the others; ``as`` is followed."""
    write("schedule.py", "optimizer = dict(lr=0.1)\nsteps = [8, 11]\n")
    write(
        "mid.py",
        """
        from drivetrain.config import read_base
        with read_base():
            from .schedule import *
        optimizer.lr = 0.2
        """,
    )
    path = write(
        "top.py",
        """
        from drivetrain.config import read_base
        with read_base():
            from .mid import *
            from .mid import optimizer as second
            from .schedule import steps as milestones
        """,
    )
    loaded = Config.fromfile(path)

    for cfg in (loaded, pickle.loads(pickle.dumps(loaded))):
        assert places(cfg, "optimizer.lr")[0].endswith("mid.py:4")
        assert places(cfg, "optimizer.lr")[1].endswith("schedule.py:1")
        assert places(cfg, "second.lr") == places(cfg, "optimizer.lr")
        assert len(places(cfg, "milestones.1")) == 1
        assert places(cfg, "milestones.1")[0].endswith("schedule.py:2")


def test_each_custom_import_comes_from_the_file_that_asks_for_it(write):
    write("base.py", "custom_imports = dict(imports=['json', 'ast'])\n")
    path = write("top.py", "_base_ = 'base.py'\ncustom_imports = dict(imports=['ast', 'csv'])\n")
    cfg = Config.fromfile(path)

    found = [places(cfg, f"custom_imports.imports.{index}") for index in range(3)]

    assert [[place.rpartition("/")[2] for place in each] for each in found] == [
        ["base.py:1"],
        ["top.py:2", "base.py:1"],
        ["top.py:2"],
    ]
