"""What holds for any content: merging, overriding, copying and comparing, over generated nests."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivetrain.config import Config, ConfigDict, MergeError, apply_overrides, diff, parse_override

SETTINGS = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
keys = st.sampled_from(["a", "b", "c", "lr", "model"])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1000, 1000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["x", "1e-3", "yes", "a b", "it's", "#", "- x", "", "null"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=10,
)
contents = st.dictionaries(keys, values, max_size=4)


def merged(base: dict[str, Any], child: dict[str, Any]) -> dict[str, Any] | None:
    """Merging by its definition; ``None`` where a dict meets what is no dict."""
    result = dict(base)
    for key, value in child.items():
        if isinstance(value, dict) and base.get(key) is not None:
            inner = merged(base[key], value) if isinstance(base[key], dict) else None
            if inner is None:
                return None
            result[key] = inner
        else:
            result[key] = value
    return result


@SETTINGS
@given(contents, contents)
def test_a_chain_in_any_format_is_the_merge_of_its_files(tmp_path, base, child) -> None:
    expected = merged(base, child)
    for name in ("base.py", "base.json", "base.yaml"):
        Config(base).dump(tmp_path / name)
    (tmp_path / "child.py").write_text("_base_ = 'base.py'\n" + Config(child).pretty_text)
    (tmp_path / "child.json").write_text(json.dumps({"_base_": "base.yaml", **child}))
    Config(child).dump(tmp_path / "own.yaml")
    own = (tmp_path / "own.yaml").read_text()
    (tmp_path / "child.yaml").write_text("_base_: base.json\n" + (own if child else ""))

    for name in ("child.py", "child.json", "child.yaml"):
        if expected is None:
            with pytest.raises(MergeError):
                Config.fromfile(tmp_path / name)
        else:
            assert Config.fromfile(tmp_path / name) == expected
            assert Config.fromfile(tmp_path / name, safe=True) == expected


@SETTINGS
@given(contents)
def test_copies_are_equal_and_share_no_container(content) -> None:
    cfg = Config(content)

    for other in (copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert other == cfg
        assert other.digest() == cfg.digest()
        assert not diff(cfg, other)
        other["new"] = 1
        for value in other.values():
            if isinstance(value, (dict, list)):
                value.clear()
    assert cfg == content


def leaves(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(node, dict):
        return [leaf for key, item in node.items() for leaf in leaves(item, (*path, key))]
    if isinstance(node, list):
        return [leaf for i, item in enumerate(node) for leaf in leaves(item, (*path, str(i)))]
    return [path]


@SETTINGS
@given(contents, st.data())
def test_an_override_changes_its_leaf_and_nothing_else(content, data) -> None:
    paths = leaves(content)
    if not paths:
        return
    path = ".".join(data.draw(st.sampled_from(paths)))
    cfg = Config(content)

    apply_overrides(cfg, [f"{path}=changed"])

    assert [each.path for each in diff(Config(content), cfg)] in ([path], [])
    assert cfg.origin(path)[0].how == "command line"
    assert content == Config(content).to_dict()


@SETTINGS
@given(values)
def test_a_value_survives_the_syntax_of_overrides(value) -> None:
    def spelt(value: Any) -> str:
        if isinstance(value, list):
            return "[" + ",".join(map(spelt, value)) + "]"
        if isinstance(value, dict):
            return "{" + ",".join(f"{key}: {spelt(item)}" for key, item in value.items()) + "}"
        return f'"{value}"' if isinstance(value, str) else str(value)

    assert parse_override(f"key={spelt(value)}") == ("key", value)


@SETTINGS
@given(contents)
def test_every_leaf_of_a_file_has_a_line(tmp_path, content) -> None:
    for name in ("c.py", "c.json", "c.yaml"):
        Config(content).dump(tmp_path / name)
        cfg = Config.fromfile(tmp_path / name)
        lines = (tmp_path / name).read_text().splitlines()
        for path in leaves(content):
            (origin,) = cfg.origin(".".join(path))
            named = [part for part in path if not part.isdigit()]
            assert origin.lineno is not None
            assert path[-1].isdigit() or named[-1] in lines[origin.lineno - 1]


@SETTINGS
@given(contents)
def test_config_dict_equals_the_dict_it_was_made_of(content) -> None:
    node = ConfigDict(content)

    assert node == content
    assert node.to_dict() == content
    assert repr(node) == repr(content)
    assert json.loads(json.dumps(node)) == content
