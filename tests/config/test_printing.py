"""Dumping, pretty text, diff and digest."""
# ruff: noqa: C408 (configs are written with dict())

from __future__ import annotations

import collections
import datetime
import http
import math
import pathlib
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivetrain.config import Config, ConfigDict, DumpError, UnsupportedFormatError, diff

SETTINGS = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
RESERVED = {"filename", "text", "pretty_text", "env_variables"}
# What a config must not use as a key of its own, or means something in a file.
SPECIAL = {*RESERVED, "_base_", "_delete_", "_deprecation_", "custom_imports"}

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
    # Templates are replaced on purpose.
    lambda text: "{{" not in text
)
keys = any_text.filter(lambda key: key not in SPECIAL and not key.startswith("__"))
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda n: n not in SPECIAL)


def nests(scalars, keys, sequences) -> st.SearchStrategy:
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            *[make(inner) for make in sequences], st.dictionaries(keys, inner, max_size=4)
        ),
        max_leaves=15,
    )


json_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    any_text,
)
yaml_text = any_text.filter(str.isprintable)
lists = lambda inner: st.lists(inner, max_size=4)  # noqa: E731 (a table of makers)
tuples = lambda inner: lists(inner).map(tuple)  # noqa: E731

python_values = nests(
    st.one_of(
        json_scalars,
        st.just(math.inf),
        st.binary(max_size=8),
        st.complex_numbers(allow_nan=False),
        st.frozensets(st.integers(), max_size=3),
        st.sets(st.text("abc", max_size=3), max_size=3),
        st.sampled_from([int, dict, len, math.floor, collections.OrderedDict]),
    ),
    st.one_of(any_text, st.integers(), st.none(), st.booleans(), st.tuples(st.integers(), keys)),
    [lists, tuples],
)


@SETTINGS
@given(st.dictionaries(keys, python_values, max_size=5))
def test_python_text_gives_back_any_config(content) -> None:
    if "globals" in content and not all(key.isidentifier() for key in content):
        return
    cfg = Config(content)

    again = Config.fromstring(cfg.pretty_text, "py")

    assert again == cfg
    assert list(again) == list(cfg)
    assert again.pretty_text == cfg.pretty_text
    assert again.digest() == cfg.digest()


@SETTINGS
@given(st.dictionaries(keys, nests(json_scalars, keys, [lists]), max_size=5))
def test_json_text_gives_back_what_json_can_hold(tmp_path, content) -> None:
    cfg = Config(content)
    cfg.dump(tmp_path / "c.json")

    assert Config.fromfile(tmp_path / "c.json") == cfg


@SETTINGS
@given(
    st.dictionaries(
        yaml_text.filter(lambda key: key not in SPECIAL),
        nests(
            st.one_of(
                st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), yaml_text
            ),
            st.one_of(yaml_text, st.integers()),
            [lists],
        ),
        max_size=5,
    )
)
def test_yaml_text_gives_back_what_yaml_can_hold(tmp_path, content) -> None:
    cfg = Config(content)
    cfg.dump(tmp_path / "c.yaml")

    assert Config.fromfile(tmp_path / "c.yaml") == cfg


def test_pretty_text_is_wrapped_one_item_a_line() -> None:
    cfg = Config(
        dict(
            short=dict(a=1, b=[1, 2]),
            train_dataloader=dict(
                batch_size=32,
                dataset=dict(type="Digits", pipeline=[dict(type="Load"), dict(type="Flip", p=0.5)]),
                sampler=dict(type="DefaultSampler", shuffle=True),
            ),
            odd={"a b": 1, 2: None},
            one=(1,),
            empty=dict(x={}, y=[], z=()),
        )
    )

    assert cfg.pretty_text == (
        "short = dict(a=1, b=[1, 2])\n"
        "train_dataloader = dict(\n"
        "    batch_size=32,\n"
        "    dataset=dict(type='Digits', pipeline=[dict(type='Load'), dict(type='Flip', p=0.5)]),\n"
        "    sampler=dict(type='DefaultSampler', shuffle=True),\n"
        ")\n"
        "odd = {'a b': 1, 2: None}\n"
        "one = (1,)\n"
        "empty = dict(x=dict(), y=[], z=())\n"
    )


@pytest.mark.parametrize(
    "content",
    [
        {"class": 1, "a b": dict(x=1), "1": 2, "": 3},
        {"dict": dict(a=1), "list": [dict(b=2)]},
        {"a": dict(**{"lambda": 1})},
        {"OrderedDict": 1, "used": collections.OrderedDict},
        {"floor": dict(type=math.floor)},
        {"a": dict(type=partial)},
        {"nan": dict(x=math.inf, y=-math.inf)},
        {"a": {"_base_": 1}},
        {"self": 1, "cfg": 2, "args": 3},
    ],
    ids=lambda content: next(iter(content)) or "empty",
)
def test_awkward_names_come_back(content) -> None:
    cfg = Config(content)

    assert Config.fromstring(cfg.pretty_text, "py") == cfg


def test_classes_and_functions_are_printed_as_imports() -> None:
    cfg = Config(dict(a=dict(type=collections.OrderedDict, f=math.floor, kind=int), floor=1))

    assert cfg.pretty_text == (
        "from collections import OrderedDict\n"
        "from math import floor as floor_\n"
        "\n"
        "a = dict(type=OrderedDict, f=floor_, kind=int)\n"
        "floor = 1\n"
    )
    assert Config.fromstring(cfg.pretty_text, "py") == cfg


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (dict(a=dict(b=[object()])), "c.py", r"a.b.0: <object object"),
        (dict(a=lambda: 1), "c.py", r"a: <function"),
        (dict(a=dict(b=object())), "c.json", "a.b: json cannot hold"),
        (dict(a=[range(3)]), "c.yaml", r"a.0: yaml cannot hold range\(0, 3\)"),
        (dict(a={1: 2}), "c.json", r"a.1: json cannot hold the key 1"),
        (dict(a=math.nan), "c.json", "a: JSON cannot hold nan"),
        (dict(a=b"x"), "c.json", "a: json cannot hold b'x' of type bytes"),
        ({(1, 2): 1}, "c.yaml", r"yaml cannot hold the key \(1, 2\)"),
        ({1: 2}, "c.py", "key 1 cannot be a variable"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_its_path(
    tmp_path, content, name, message
) -> None:
    with pytest.raises(DumpError, match=message):
        Config(content).dump(tmp_path / name)

    assert not (tmp_path / name).exists()


def test_values_that_a_call_or_a_name_makes_again_are_printed_so() -> None:
    cfg = Config(
        dict(
            path=pathlib.Path("a/b"),
            pure=pathlib.PureWindowsPath("c:/x"),
            day=datetime.date(2026, 1, 31),
            moment=datetime.datetime(2026, 1, 31, 12, 5, tzinfo=datetime.timezone.utc),
            steps=range(3, 9, 2),
            level=dict(a=http.HTTPStatus.NOT_FOUND),
        )
    )

    assert cfg.pretty_text == (
        "from datetime import date, datetime\n"
        "from http import HTTPStatus\n"
        "from pathlib import Path, PureWindowsPath\n"
        "\n"
        "path = Path('a/b')\n"
        "pure = PureWindowsPath('c:\\\\x')\n"
        "day = date.fromisoformat('2026-01-31')\n"
        "moment = datetime.fromisoformat('2026-01-31 12:05:00+00:00')\n"
        "steps = range(3, 9, 2)\n"
        "level = dict(a=HTTPStatus.NOT_FOUND)\n"
    )
    assert Config.fromstring(cfg.pretty_text, "py") == cfg
    assert len(cfg.digest()) == 64


def test_yaml_holds_the_dates_that_it_reads(write) -> None:
    write("c.yaml", "day: 2026-01-31\n")
    cfg = Config.fromfile("c.yaml")

    cfg.dump("d.yaml")

    assert cfg.day == datetime.date(2026, 1, 31)
    assert Config.fromfile("d.yaml") == cfg


def test_pretty_text_shows_what_has_no_source_and_says_so() -> None:
    class Model:
        def __repr__(self) -> str:
            return "<Model\nof two lines>"

    cfg = Config(dict(a=1, loader=dict(model=Model())))

    text = cfg.pretty_text

    assert text.startswith("# Does not load as it was: loader.model: <Model of two lines> of type")
    assert text.endswith("a = 1\nloader = dict(model='<Model\\nof two lines>')\n")
    assert Config.fromstring(text, "py").a == 1
    with pytest.raises(DumpError, match=r"loader.model: <Model"):
        cfg.dump()
    assert cfg.dump(strict=False) == text


@pytest.mark.parametrize("name", ["c.py", "c.json", "c.yaml"])
def test_a_lenient_dump_shows_what_the_format_cannot_hold(write, name) -> None:
    write("unused.py", "")
    cfg = Config(dict(a=1, b=[object(), math.inf, {(1, 2): 3}], c=dict(type=int)))
    cfg.b.append(cfg.b)

    cfg.dump(name, strict=False)

    again = Config.fromfile(name)
    assert again.a == 1
    assert again.b[0].startswith("<object object")
    with pytest.raises(DumpError):
        cfg.dump(name)


def test_a_refused_value_is_traced_to_its_line(write) -> None:
    write("c.py", "a = 1\nb = dict(\n    c=object())")

    with pytest.raises(DumpError, match=r"c.py:3: b.c: <object object") as caught:
        Config.fromfile("c.py").dump("d.py")

    assert (caught.value.path, caught.value.lineno) == ("b.c", 3)


def test_a_value_that_contains_itself_is_refused() -> None:
    cfg = Config(dict(a=[]))
    cfg.a.append(cfg.a)
    node = ConfigDict()
    dict.__setitem__(node, "me", node)

    with pytest.raises(DumpError, match=r"a.0: the value contains itself"):
        cfg.dump("unused.py")
    with pytest.raises(DumpError, match="contains itself"):
        Config(node).dump("unused.json")


def test_a_dump_that_fails_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "c.json"
    Config(dict(a=1)).dump(path)

    with pytest.raises(DumpError, match="lone surrogate"):
        Config(dict(a="\ud800")).dump(path)
    with pytest.raises(DumpError, match="lone surrogate"):
        Config(dict(a="\ud800")).dump(tmp_path / "c.yaml")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Config(dict(a=1)).dump(tmp_path / "nowhere" / "c.py")

    assert Config.fromfile(path) == dict(a=1)
    assert [each.name for each in tmp_path.iterdir()] == ["c.json"]


def test_a_format_that_is_none_is_refused(tmp_path) -> None:
    with pytest.raises(UnsupportedFormatError, match=r"not .toml"):
        Config(dict(a=1)).dump(tmp_path / "c.toml")


def test_dump_without_a_file_gives_text_in_the_format_of_the_file(write) -> None:
    write("c.yaml", "a: 1\nb: {c: [1, x]}\n")
    write("c.json", '{"a": 1}')

    assert Config.fromfile("c.yaml").dump() == "a: 1\nb:\n  c:\n  - 1\n  - x\n"
    assert Config.fromfile("c.json").dump() == '{\n  "a": 1\n}\n'
    assert Config(dict(a=1)).dump() == "a = 1\n"


def test_yaml_repeats_shared_values_instead_of_anchors(tmp_path) -> None:
    shared = [1]
    cfg = Config(dict(a=shared))
    dict.__setitem__(cfg._cfg_dict, "b", cfg.a)
    cfg.dump(tmp_path / "c.yaml")

    assert (tmp_path / "c.yaml").read_text() == "a:\n- 1\nb:\n- 1\n"


def test_diff_is_a_unified_diff_of_configs_or_files(write) -> None:
    write("a.py", "lr = 1\nname = 'x'")
    write("b.py", "lr = 2\nname = 'x'")

    text = Config.diff("a.py", Config.fromfile("b.py"))

    assert text == "--- a.py\n+++ b.py\n@@ -1,2 +1,2 @@\n-lr = 1\n+lr = 2\n name = 'x'"
    assert Config.diff("a.py", "a.py") == ""


def test_differences_are_listed_by_path() -> None:
    old = Config(dict(a=dict(b=1, gone=2), c=[1, dict(d=2)], same=1))
    new = Config(dict(a=dict(b=1.0, new=3), c=[1, dict(d=3), 4], same=1))

    assert [tuple(each) for each in diff(old, new)] == [
        ("a.b", "changed", 1, 1.0),
        ("a.gone", "removed", 2, None),
        ("a.new", "added", None, 3),
        ("c.1.d", "changed", 2, 3),
        ("c.2", "added", None, 4),
    ]


def test_a_digest_depends_on_the_content_only(write) -> None:
    write("a.py", "a = 1\nb = dict(c=[1, 2.5], d=None)")
    write("b.yaml", "b: {d: null, c: [1, 2.5]}\na: 1")
    digest = Config.fromfile("a.py").digest()

    assert len(digest) == 64
    assert Config.fromfile("b.yaml").digest() == digest
    assert Config(dict(a=True, b=dict(c=[1.0, 2.5], d=None))).digest() == digest
    assert Config(dict(a=2, b=dict(c=[1, 2.5], d=None))).digest() != digest
    assert Config(dict(a="1", b=dict(c=[1, 2.5], d=None))).digest() != digest
    assert Config(dict(a=1, b=dict(c=(1, 2.5), d=None))).digest() != digest


def test_a_digest_needs_values_with_a_name() -> None:
    assert Config(dict(a=dict(type=int))).digest() != Config(dict(a=dict(type=float))).digest()
    with pytest.raises(DumpError, match=r"a.b: a digest needs plain values"):
        Config(dict(a=dict(b=object()))).digest()


@pytest.mark.parametrize("name", ["c.py", "c.json", "c.yaml"])
def test_text_that_looks_like_a_template_comes_back_as_text(tmp_path, monkeypatch, name) -> None:
    """A prompt, say: what a program puts into a config is data, not a template of a file."""
    monkeypatch.setenv("DT_SECRET", "leaked")
    texts = [
        "{{$DT_SECRET:x}}",
        "{{ fileDirname }} and {{'$DT_SECRET'}}",
        "a {{_base_.b}}\n{{$DT_SECRET:}} 'q' \"r\" {{{ fileExtname }}}",
        "{{ name }}",
        "long " * 30 + "{{ $DT_SECRET : x y }} " + "tail " * 30,
    ]
    cfg = Config({"prompts": texts, "by": {texts[0]: {texts[1]: 1}}, "n": {}})

    cfg.dump(tmp_path / name)

    assert Config.fromfile(tmp_path / name) == cfg


@pytest.mark.parametrize("name", ["c.py", "c.json", "c.yaml"])
@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"m": [{"k": {"_delete_": True, "a": 1}}]}, r"m\.0\.k\._delete_"),
        ({"_base_": "other.py"}, "_base_"),
        ({"_deprecation_": {"expected": "x"}}, "_deprecation_"),
    ],
)
def test_a_key_that_loading_obeys_cannot_be_dumped(tmp_path, content, path, name) -> None:
    with pytest.raises(DumpError, match=rf"^{path}: no file can hold this key"):
        Config(content).dump(tmp_path / name)
    assert Config(content).pretty_text
