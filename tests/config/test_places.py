"""Errors about a loaded config name file and line; a load that fails leaves nothing behind."""

# Configs are written with dict(), as in config files.
# ruff: noqa: C408

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys

import pytest

from drivetrain.config import (
    ArgumentTypeError,
    Config,
    ConfigError,
    ConfigFileNotFoundError,
    ConfigImportError,
    ConfigWriteError,
    ListIndexError,
    MergeError,
    MissingKeyError,
    OverrideSyntaxError,
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


def _pickled(cfg):
    return pickle.loads(pickle.dumps(cfg))


@pytest.mark.parametrize("duplicate", [lambda cfg: cfg, copy.deepcopy, Config.copy, _pickled])
def test_a_missing_key_of_a_loaded_config_names_the_nearest_line(train, duplicate) -> None:
    cfg = duplicate(train)
    with pytest.raises(AttributeError, match=r"train.py:4: no key 'lrr' .* mean 'lr'"):
        cfg.optimizer.lrr
    with pytest.raises(KeyError, match=r"train.py:3: no key 'qqqq'"):
        cfg.optimizer.pop("qqqq")
    with pytest.raises(KeyError, match=r"train.py:6: no key 'name'"):
        cfg["hooks"][0]["name"]
    with pytest.raises(MissingKeyError, match=r"train.py:3: no key 'optimzer'"):
        cfg.optimzer
    with pytest.raises(MissingKeyError, match=r"train.py:1: no key 'qqqqqqqq'"):
        del cfg["qqqqqqqq"]


def test_a_dict_taken_out_of_its_config_knows_its_line_when_the_config_is_gone(tmp_path) -> None:
    (tmp_path / "base.yaml").write_text("model:\n  head:\n    type: A\n", encoding="utf-8")
    (tmp_path / "c.py").write_text("_base_ = 'base.yaml'\nx = [dict(a=1)]\n", encoding="utf-8")
    head = Config.fromfile(tmp_path / "c.py").model.head
    for each in (head, copy.copy(head), copy.deepcopy(head), head | {"more": 1}):
        with pytest.raises(MissingKeyError, match=r"base.yaml:3: no key 'typ'"):
            each.typ
    with pytest.raises(MissingKeyError, match=r"c.py:2: no key 'b'"):
        Config.fromfile(tmp_path / "c.py").x[0]["b"]


def test_what_a_program_or_an_override_adds_knows_the_dict_around_it(train) -> None:
    train.optimizer.groups = dict(a=[dict(b=1)])
    with pytest.raises(MissingKeyError, match=r"train.py:3: no key 'c'"):
        train.optimizer.groups.a[0].c
    apply_overrides(train, ["+optimizer.more={a: {b: 1}}", "hooks.0.type=Clock"])
    with pytest.raises(MissingKeyError, match=r"train.py:3: no key 'c'"):
        train.optimizer.more.a.c
    with pytest.raises(MissingKeyError, match=r"train.py:6: no key 'c'"):
        train.hooks[0].c


def test_a_merge_into_a_node_that_fails_names_its_line(train) -> None:
    with pytest.raises(MergeError, match=r"train.py:4: lr: cannot merge"):
        train.optimizer.merge({"lr": {"a": 1}})


def test_a_missing_key_keeps_its_place_when_it_is_pickled(train) -> None:
    with pytest.raises(MissingKeyError) as caught:
        train.optimizer.lrr
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value)
    assert error.lineno == 4


def test_a_node_that_holds_itself_has_a_place_too(train) -> None:
    train.optimizer["again"] = train.optimizer
    with pytest.raises(MissingKeyError, match=r"train.py:4: no key 'lrr'"):
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
        ("hooks[3].type=a", UnknownKeyError, r"train.py:6: .*'hooks.3.type'"),
        ("qqqqqqqq=1", UnknownKeyError, r"train.py:1: .*'qqqqqqqq'"),
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


def _state():
    return set(sys.modules), list(sys.path), os.getcwd(), dict(os.environ)


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
    before = _state()
    with pytest.raises(ConfigError):
        Config.fromfile(own_package / "c.py", lazy_import=False)
    assert _state() == before


def test_a_load_that_fails_keeps_what_was_imported_before(own_package) -> None:
    import dt_own  # found through the import path that the fixture sets

    (own_package / "c.py").write_text(FAILURES["while it runs"], encoding="utf-8")
    with pytest.raises(ConfigError):
        Config.fromfile(own_package / "c.py", lazy_import=False)
    assert sys.modules.pop("dt_own") is dt_own
    assert not hasattr(dt_own, "part")
    assert "dt_own.part" not in sys.modules


LASTING = """\
import json, os, sys, pytest
from drivetrain.config import Config, ConfigError

def state():
    return dict(sys.modules), list(sys.path), os.getcwd(), dict(os.environ)

def fails(path):
    before = state()
    with pytest.raises(ConfigError):
        Config.fromfile(path, lazy_import=False)
    after = state()
    assert before == after, set(before[0]) ^ set(after[0])
    assert all(before[0][name] is module for name, module in after[0].items())
"""


def test_lasting_modules_are_set_aside_and_come_back_as_they_were(tmp_path) -> None:
    """Standard library, installed packages, compiled modules, also those of this package."""
    (tmp_path / "a.py").write_text(
        "import decimal, dt_seen, sqlite3, wave\n"
        "dt_seen.modules += [decimal, wave, sys.modules['_decimal']]\n"
        "sys.modules['dt_by_hand'] = sys\nsys.modules['json'] = None\n1 / 0\n".replace(
            "import decimal", "import sys, decimal"
        ),
        encoding="utf-8",
    )
    (tmp_path / "b.yaml").write_text("a: [1\n", encoding="utf-8")
    (tmp_path / "c.yaml").write_text("a: 1\n", encoding="utf-8")
    (tmp_path / "dt_seen.py").write_text("modules = []\n", encoding="utf-8")
    program = LASTING + (
        "import dt_seen\n"
        "fails('b.yaml'); fails('a.py'); fails('a.py'); fails('b.yaml')\n"
        "import decimal, wave\n"
        "modules = [decimal, wave, sys.modules['_decimal']]\n"
        "assert all(a is b for a, b in zip(dt_seen.modules, modules * 2, strict=True))\n"
        "assert decimal.__spec__.loader is decimal.__loader__\n"
        "assert Config.fromfile('c.yaml').a == 1\n"
        "import importlib, sqlite3; importlib.reload(wave)\n"
        "assert not [f for f in sys.meta_path if 'drivetrain' in type(f).__module__]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_modules_that_another_thread_imports_meanwhile_stay(own_package) -> None:
    (own_package / "dt_other.py").write_text("", encoding="utf-8")
    (own_package / "c.py").write_text(
        "import threading\nthread = threading.Thread(target=__import__, args=('dt_other',))\n"
        "thread.start()\nthread.join()\n1 / 0\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError):
        Config.fromfile(own_package / "c.py", lazy_import=False)
    assert sys.modules.pop("dt_other")


# Files and arguments ----------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_named_with_its_folder_and_who_asked(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = re.escape(os.fspath(tmp_path))
    for name in ("train.py", "base.yaml"):
        (tmp_path / name).write_text("", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=rf"^trian.py: .*'{where}/trian.py'; did you mean"):
        Config.fromfile("trian.py")
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*/sub'"):
        Config.fromfile("sub/c.py")
    (tmp_path / "c.py").write_text("a = 1\n_base_ = 'bas.yaml'\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=rf"c.py:2: .*'{where}/bas.yaml'; .*'base.yaml'"):
        Config.fromfile("c.py")
    (tmp_path / "d.py").write_text(
        "from drivetrain.config import read_base\nwith read_base():\n    from .trian import *\n",
        encoding="utf-8",
    )
    with pytest.raises(FileNotFoundError, match=rf"d.py:3: .*'{where}/trian.py'; .*'train.py'"):
        Config.fromfile("d.py")
    (tmp_path / "e.py").write_text("\n_base_ = 'x.toml'\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"e.py:2: .*x.toml: a config is a .py"):
        Config.fromfile("e.py")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("c.py", "a = 1\nb = " + "[" * 5000 + "]" * 5000, 2),
        ("c.py", "a = 1\nb = " + "-" * 50_000 + "1\nc = 2", 2),
        ("c.py", "a = 1\nb = {}\nb['b'] = b", 2),
        ("c.json", '{"a": 1,\n"b": ' + "[" * 50_000 + "]" * 50_000 + "}", 2),
        ("c.yaml", "a: 1\nb: " + "[" * 5000 + "]" * 5000, 2),
        ("c.yaml", "a: 1\nb: &b [*b]", 2),
    ],
)
@pytest.mark.parametrize("safe", [False, True])
def test_nesting_without_end_is_an_error_with_its_line(tmp_path, name, text, line, safe) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        Config.fromfile(tmp_path / name, safe=safe)
    assert caught.value.lineno in (line, line + ("b['b']" in text))


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("c.py", b"a = 1\nb = '\xff'", 2),
        ("c.yaml", b"a: 1\nb: 2026-13-13", 2),
        ("c.json", b'{"a": 1,\n"b": ' + b"1" * 5000 + b"}", 2),
        ("c.py", b"custom_imports = 1", 1),
    ],
)
def test_what_no_parser_places_has_its_line_too(tmp_path, name, content, line) -> None:
    if not hasattr(sys, "get_int_max_str_digits") and b"11111" in content:
        pytest.skip("this Python reads numbers of any length")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Config.fromfile(tmp_path / name)
    assert caught.value.lineno == line


@pytest.mark.parametrize("argument", ["a", "=1", "a..b=1", "a=[1", "a={b}", "++a=1"])
def test_an_argument_that_is_no_override_is_named_with_its_position(train, argument) -> None:
    with pytest.raises(OverrideSyntaxError, match=r"^override 2 of 3: ") as caught:
        apply_overrides(train, ["x=1", argument, "x=2"])
    assert repr(argument) in str(caught.value)
    assert (caught.value.argument, caught.value.position) == (argument, 2)


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda cfg: Config([1]), r"cfg_dict must be a dict, got list: \[1\]; Config.fromfile"),
        (lambda cfg: Config.fromfile(None), "a config file is a str or a pathlib.Path, not None"),
        (lambda cfg: Config.fromfile(3), "a str or a pathlib.Path, not int: 3"),
        (lambda cfg: Config.fromstring(b"a=1", "py"), "cfg_str must be a str, got bytes"),
        (lambda cfg: Config.fromstring("a=1", None), "format of a config is a str"),
        (lambda cfg: cfg.merge_from_dict("a=2"), r"options must be a dict .*apply_overrides"),
        (lambda cfg: apply_overrides(cfg, "a=2"), r"write \['a=2'\]"),
        (lambda cfg: cfg.origin(["a", "b"]), r"a path is a str such as 'model.depth', got list"),
        (lambda cfg: cfg.dump(3), "file to dump to is a str or a pathlib.Path"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_argument_of_another_type_is_an_error_of_the_package(call, message) -> None:
    with pytest.raises(ArgumentTypeError, match=message) as caught:
        call(Config({"a": 1}))

    assert isinstance(caught.value, TypeError)


def test_a_config_that_cannot_be_written_says_why_and_leaves_nothing(tmp_path) -> None:
    cfg = Config({"a": 1})
    (tmp_path / "folder.py").mkdir()

    with pytest.raises(ConfigFileNotFoundError, match=r"there is no folder .*make it first"):
        cfg.dump(tmp_path / "not_there" / "c.py")
    with pytest.raises(ConfigWriteError, match=r"cannot write .*folder\.py"):
        cfg.dump(tmp_path / "folder.py")

    assert [each.name for each in tmp_path.iterdir()] == ["folder.py"]


def test_a_custom_import_whose_code_raises_names_the_config_and_the_original(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "dt_raises.py").write_text("raise RuntimeError('no licence')")
    (tmp_path / "c.py").write_text("a = 1\ncustom_imports = dict(imports=['dt_raises'])")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(
        ConfigImportError, match=r"c.py:2: .*'dt_raises': RuntimeError: no licence"
    ) as caught:
        Config.fromfile(tmp_path / "c.py")

    assert isinstance(caught.value.__cause__, RuntimeError)
