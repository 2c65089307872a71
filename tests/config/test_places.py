"""Errors about a loaded config name file and line; a load that fails leaves nothing behind."""

# Configs are written with dict(), as in config files.
# ruff: noqa: C408

from __future__ import annotations

import copy
import os
import pickle
import sys

import pytest

from drivetrain.config import (
    Config,
    ConfigError,
    ConfigImportError,
    ListIndexError,
    MergeError,
    MissingKeyError,
    ReservedKeyError,
    UnknownKeyError,
    apply_overrides,
)

TRAIN = """\
x = 1

optimizer = dict(
    lr=0.1,
)
hooks = [dict(type='Timer')]
"""


@pytest.fixture
def train(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    return Config.fromfile(tmp_path / "train.py")


@pytest.mark.parametrize("duplicate", [lambda cfg: cfg, copy.deepcopy, Config.copy])
def test_a_missing_key_of_a_loaded_config_names_the_line_of_its_dict(train, duplicate) -> None:
    cfg = duplicate(train)
    with pytest.raises(AttributeError, match=r"train.py:3: no key 'lrr' .* mean 'lr'"):
        cfg.optimizer.lrr
    with pytest.raises(KeyError, match=r"train.py:6: no key 'name'"):
        cfg["hooks"][0]["name"]
    with pytest.raises(MissingKeyError, match=r"train.py: no key 'optim'"):
        cfg.optim


def test_a_missing_key_keeps_its_place_when_it_is_pickled(train) -> None:
    with pytest.raises(MissingKeyError) as caught:
        train.optimizer.lrr
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value)
    assert error.lineno == 3


def test_a_node_that_holds_itself_has_a_place_too(train) -> None:
    train.optimizer["again"] = train.optimizer
    with pytest.raises(MissingKeyError, match=r"train.py:3: no key 'lrr'"):
        train.optimizer.lrr


def test_a_node_of_no_file_has_no_place() -> None:
    with pytest.raises(MissingKeyError, match=r"^no key 'b' in this config; it has 'a'$"):
        Config(dict(a=1)).b


@pytest.mark.parametrize(
    ("override", "kind", "message"),
    [
        ("optimizer.lrr=1", UnknownKeyError, r"train.py:4: .*'optimizer.lrr'; did you mean"),
        ("optimizer.a.b.c=1", UnknownKeyError, r"train.py:\d: .*'optimizer.a.b.c'"),
        ("hooks.3.type=a", UnknownKeyError, r"train.py:6: .*'hooks.3.type'"),
        ("hooks[3].type=a", UnknownKeyError, r"train.py:6: .*'hooks\[3\].type'"),
        ("qqqqqqqq=1", UnknownKeyError, r"train.py: .*'qqqqqqqq'"),
        ("+hooks.3.type=a", ListIndexError, r"train.py:6: hooks: index 3"),
        ("+x.y=1", MergeError, r"train.py:1: x: cannot merge"),
    ],
)
def test_an_override_that_fails_names_the_file_and_the_nearest_line(
    train, override, kind, message
) -> None:
    with pytest.raises(kind, match=message):
        apply_overrides(train, [override])


def test_elements_may_be_named_with_brackets(train) -> None:
    apply_overrides(train, ["hooks[0].type=Stopwatch", "+hooks[0].every=2"])
    train.merge_from_dict({"hooks[0].first": True})
    assert train.hooks == [dict(type="Stopwatch", every=2, first=True)]
    assert train.origin("hooks[0].type") == train.origin("hooks.0.type")
    assert [each.how for each in train.origin("hooks[0].type")] == ["command line", ""]


def test_a_reserved_key_names_its_line(tmp_path) -> None:
    (tmp_path / "base.yaml").write_text("a: 1\ntext: b\n", encoding="utf-8")
    (tmp_path / "c.py").write_text("_base_ = 'base.yaml'\n", encoding="utf-8")
    with pytest.raises(ReservedKeyError, match=r"base.yaml:2: key 'text' is reserved"):
        Config.fromfile(tmp_path / "c.py")


def test_a_failed_custom_import_names_the_line_that_asks_for_it(tmp_path) -> None:
    lines = "a = 1\ncustom_imports = dict(imports=['dt_no_such_module'])\n"
    (tmp_path / "base.py").write_text(lines, encoding="utf-8")
    (tmp_path / "c.py").write_text(
        "_base_ = 'base.py'\ncustom_imports = dict(imports=['json'])\n", encoding="utf-8"
    )
    with pytest.raises(ConfigImportError, match=r"base.py:2: .*cannot import 'dt_no_such_module'"):
        Config.fromfile(tmp_path / "c.py")


# A load that fails ------------------------------------------------------------------------------

FAILURES = {
    "while it runs": "import dt_own.part\nraise ValueError('no')\n",
    "at its base": "import dt_own.part\n_base_ = 'nowhere.py'\n",
    "after it ran": "import dt_own.part\nfilename = 1\n",
    "in its custom imports": "custom_imports = dict(imports=['dt_own.part', 'dt_no_such'])\n",
}


@pytest.fixture
def own_package(tmp_path, monkeypatch):
    (tmp_path / "dt_own").mkdir()
    (tmp_path / "dt_own" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "dt_own" / "part.py").write_text("import wave\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", FAILURES.values(), ids=FAILURES)
def test_a_load_that_fails_unloads_what_it_imported(own_package, text) -> None:
    (own_package / "c.py").write_text(
        "import os, sys\nos.environ['DT_LEFT'] = '1'\nsys.path.append('/dt')\nos.chdir('/')\n"
        + text,
        encoding="utf-8",
    )
    before = (list(sys.path), list(sys.meta_path), os.getcwd(), dict(os.environ))
    with pytest.raises(ConfigError):
        Config.fromfile(own_package / "c.py", lazy_import=False)
    assert not [name for name in sys.modules if name.startswith("dt_own")]
    assert (list(sys.path), list(sys.meta_path), os.getcwd(), dict(os.environ)) == before


def test_a_load_that_fails_keeps_what_was_imported_before(own_package) -> None:
    import dt_own  # found through the import path that the fixture sets

    (own_package / "c.py").write_text(FAILURES["while it runs"], encoding="utf-8")
    with pytest.raises(ConfigError):
        Config.fromfile(own_package / "c.py", lazy_import=False)
    assert sys.modules.pop("dt_own") is dt_own
    assert not hasattr(dt_own, "part")
    assert "dt_own.part" not in sys.modules
    assert "wave" in sys.modules  # of the standard library: others may hold it


def test_setdefault_gives_the_node_that_it_set() -> None:
    assert Config().setdefault("a", dict(b=1)).b == 1


@pytest.mark.parametrize("name", ["o.json", "o.yaml"])
def test_data_formats_write_classes_as_dotted_paths(tmp_path, name) -> None:
    Config(dict(a=dict(type=Config, at=[copy.deepcopy]))).dump(tmp_path / name)
    content = Config.fromfile(tmp_path / name).to_dict()
    assert content == {"a": {"type": "drivetrain.config._config.Config", "at": ["copy.deepcopy"]}}


def test_a_node_tells_whoever_asks_by_protocol_where_it_stands(train) -> None:
    filename, lineno = type(train.optimizer).__config_place__(train.optimizer)
    assert (os.path.basename(filename), lineno) == ("train.py", 3)
