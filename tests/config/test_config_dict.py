"""ConfigDict and Config behave as dicts with attributes."""
# ruff: noqa: C408 (configs are written with dict())

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections import namedtuple
from concurrent.futures import ProcessPoolExecutor

import pytest

from drivetrain.config import Config, ConfigDict, MissingKeyError, ReservedKeyError


@pytest.fixture
def node() -> ConfigDict:
    return ConfigDict(
        optimizer=dict(type="SGD", lr=0.1), steps=[dict(at=1), (dict(at=2),)], name="run"
    )


def test_nested_dicts_become_nodes_also_in_lists_and_tuples(node) -> None:
    assert node.optimizer.lr == 0.1
    assert node.steps[0].at == 1
    assert node.steps[1][0].at == 2
    assert isinstance(node.steps[1], tuple)


@pytest.mark.parametrize(
    "put",
    [
        lambda node: node.__setitem__("new", dict(a=[dict(b=1)])),
        lambda node: setattr(node, "new", dict(a=[dict(b=1)])),
        lambda node: node.update(new=dict(a=[dict(b=1)])),
        lambda node: node.update({"new": dict(a=[dict(b=1)])}),
        lambda node: node.update([("new", dict(a=[dict(b=1)]))]),
        lambda node: node.setdefault("new", dict(a=[dict(b=1)])),
        lambda node: node.merge(dict(new=dict(a=[dict(b=1)]))),
        lambda node: node.__ior__(dict(new=dict(a=[dict(b=1)]))),
    ],
    ids=["item", "attribute", "keywords", "mapping", "pairs", "setdefault", "merge", "ior"],
)
def test_whatever_way_a_dict_comes_in_it_becomes_a_node(node, put) -> None:
    put(node)

    assert node.new.a[0].b == 1


def test_a_node_that_is_put_in_stays_the_same_object(node) -> None:
    shared = ConfigDict(a=1)
    node.shared = shared

    shared.a = 2

    assert node.shared.a == 2


def test_a_missing_attribute_names_the_nearest_key(node) -> None:
    with pytest.raises(AttributeError, match=r"no key 'optimzer'.*did you mean 'optimizer'"):
        node.optimzer


def test_a_missing_item_is_a_key_error_that_lists_what_there_is(node) -> None:
    with pytest.raises(KeyError) as caught:
        node["zzz"]

    assert str(caught.value) == "no key 'zzz' in this config; it has 'optimizer', 'steps', 'name'"


@pytest.mark.parametrize(
    "miss",
    [
        lambda node: node.pop("zzz"),
        lambda node: node.__delitem__("zzz"),
        lambda node: node.__delattr__("zzz"),
    ],
)
def test_removing_what_is_not_there_is_the_same_error(node, miss) -> None:
    with pytest.raises(MissingKeyError, match="no key 'zzz'"):
        miss(node)


def test_hasattr_and_getattr_with_default_work(node) -> None:
    assert hasattr(node, "name")
    assert not hasattr(node, "nam")
    assert getattr(node, "nam", 3) == 3


def test_get_and_pop_take_defaults(node) -> None:
    assert node.get("zzz") is None
    assert node.get("zzz", 5) == 5
    assert node.pop("name") == "run"
    assert node.pop("name", None) is None


def test_a_key_named_like_a_method_is_an_item_only() -> None:
    node = ConfigDict(items=[1], keys=2)

    assert node["items"] == [1]
    assert list(node.items()) == [("items", [1]), ("keys", 2)]
    with pytest.raises(AttributeError, match=r"write cfg\['items'\]"):
        node.items = 3


def test_union_gives_a_node(node) -> None:
    assert (node | dict(name="x")).name == "x"
    assert isinstance(dict(a=dict(b=1)) | ConfigDict(), ConfigDict)
    assert (dict(a=dict(b=1)) | ConfigDict()).a.b == 1


def test_a_node_is_a_dict_for_everything_else(node) -> None:
    assert isinstance(node, dict)
    assert dict(**node.optimizer) == {"type": "SGD", "lr": 0.1}
    assert repr(node.optimizer) == "{'type': 'SGD', 'lr': 0.1}"
    assert "optimizer" in dir(node)


def test_copy_shares_nested_nodes_and_deepcopy_does_not(node) -> None:
    shallow, deep = copy.copy(node), copy.deepcopy(node)

    node.optimizer.lr = 1.0
    node.steps[0].at = 7

    assert (shallow.optimizer.lr, shallow.steps[0].at) == (1.0, 7)
    assert (deep.optimizer.lr, deep.steps[0].at) == (0.1, 1)
    assert type(deep.optimizer) is ConfigDict


def test_deepcopy_keeps_sharing_and_cycles() -> None:
    inner = ConfigDict(a=[1])
    node = ConfigDict()
    node.first = node.second = inner
    dict.__setitem__(node, "itself", node)

    result = copy.deepcopy(node)

    assert result.first is result.second
    assert result.first.a is not inner.a
    assert result["itself"] is result


def test_a_named_tuple_stays_one() -> None:
    Point = namedtuple("Point", "x y")

    node = ConfigDict(point=Point(dict(a=1), 2))

    assert node.point.x.a == 1
    assert type(node.point) is Point


def test_a_subclass_keeps_its_methods() -> None:
    class Mine(ConfigDict):
        def double(self) -> int:
            return self.a * 2

    assert Mine(a=2).double() == 4


def test_to_dict_gives_plain_containers(node) -> None:
    result = node.to_dict()

    assert type(result["optimizer"]) is dict
    assert type(result["steps"][1][0]) is dict


def test_update_goes_into_nested_dicts() -> None:
    cfg = Config(dict(model=dict(backbone=dict(type="ResNet", depth=50), neck=1, heads=[1, 2])))

    cfg.model.update(dict(backbone=dict(depth=18), heads=[3]), neck=dict(type="FPN"))
    cfg.update(model=dict(backbone=dict(norm=dict(type="BN"))))

    assert cfg.model == dict(
        backbone=dict(type="ResNet", depth=18, norm=dict(type="BN")),
        neck=dict(type="FPN"),
        heads=[3],
    )
    assert cfg.model.backbone.norm.type == "BN"


def test_the_union_of_two_nodes_goes_into_nested_dicts_and_changes_neither() -> None:
    one, other = ConfigDict(a=dict(b=1, c=2)), dict(a=dict(c=3), d=dict(e=4))

    assert one | other == dict(a=dict(b=1, c=3), d=dict(e=4))
    assert other | one == dict(a=dict(b=1, c=2), d=dict(e=4))
    assert (one | other).d.e == 4
    assert one == dict(a=dict(b=1, c=2))


def test_config_offers_the_whole_of_a_mapping() -> None:
    cfg = Config(dict(a=1, b=dict(c=2)))

    assert (len(cfg), list(cfg), "a" in cfg, cfg.get("x", 9)) == (2, ["a", "b"], True, 9)
    assert list(cfg.keys()) == ["a", "b"]
    assert list(cfg.values()) == [1, {"c": 2}]
    cfg.update(dict(d=dict(e=1)))
    assert cfg.d.e == 1
    assert cfg.setdefault("f", 5) == 5
    assert cfg.pop("f") == 5
    del cfg.a, cfg["d"]
    assert cfg == {"b": {"c": 2}}
    assert cfg._cfg_dict == {"b": {"c": 2}}


def test_config_repr_names_the_file() -> None:
    assert repr(Config(dict(a=1))) == "Config (path: None): {'a': 1}"


@pytest.mark.parametrize("key", ["filename", "text", "pretty_text", "env_variables"])
def test_reserved_keys_are_refused_everywhere(key, write) -> None:
    write("c.json", f'{{"{key}": 1}}')

    for refused in (
        lambda: Config({key: 1}),
        lambda: Config.fromfile("c.json"),
        lambda: Config().__setitem__(key, 1),
        lambda: setattr(Config(), key, 1),
        lambda: Config().merge_from_dict({key: 1}),
    ):
        with pytest.raises(ReservedKeyError, match=f"key '{key}' is reserved"):
            refused()


def test_config_needs_a_dict() -> None:
    with pytest.raises(TypeError, match=r"must be a dict, got list: \[0, 1\]"):
        Config([0, 1])


def test_a_copy_of_a_config_is_independent(write) -> None:
    write("c.py", "a = dict(b=1)")
    cfg = Config.fromfile("c.py")

    other = copy.deepcopy(cfg)
    other.a.b = 2
    other.merge_from_dict({"a.c": 3})

    assert cfg == {"a": {"b": 1}}
    assert (other.filename, other.text) == (cfg.filename, cfg.text)
    assert [origin.how for origin in cfg.origin("a.b")] == [""]


def _in_child(cfg: Config) -> tuple[int, str | None, str, Config]:
    return cfg.a.b, cfg.filename, str(cfg.origin("a.b")[0]), cfg


def test_a_config_goes_to_a_spawned_process_and_back(write) -> None:
    write("c.py", "def helper(): return 1\na = dict(b=helper(), c=[dict(d=1)])")
    cfg = Config.fromfile("c.py")

    # Unlike a bare process and its queue, a pool notices at once that its process is gone.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        value, filename, origin, back = pool.submit(_in_child, cfg).result()

    assert (value, filename, origin) == (1, "c.py", "c.py:2")
    assert back == cfg
    assert back.a.c[0].d == 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_nodes(node, protocol) -> None:
    again = pickle.loads(pickle.dumps(node, protocol))

    assert again == node
    assert type(again.steps[1][0]) is ConfigDict
