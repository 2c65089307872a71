"""What may stand in a node, and what comes out of it."""

from __future__ import annotations

import sys
import types
from collections import UserDict
from functools import partial
from typing import Any, NamedTuple

import pytest

from drivetrain.registry import (
    PARAM_SCHEDULERS,
    RUNNERS,
    DefaultScope,
    NodeError,
    Registry,
    RegistryError,
    build_from_cfg,
    build_model_from_cfg,
    build_runner_from_cfg,
    build_scheduler_from_cfg,
)


class Net:
    def __init__(self, depth=18, width=64):
        self.depth = depth
        self.width = width

    @classmethod
    def narrow(cls, depth):
        return cls(depth, width=8)


def make_net(**keys):
    return Net(**keys)


class Lazy:
    """As the config package's reference to something not imported yet."""

    def __init__(self, path, target):
        self._path = path
        self._target = target

    @property
    def dotted_path(self):
        return self._path

    def build(self):
        if isinstance(self._target, Exception):
            raise self._target
        return self._target


class Pair(NamedTuple):
    """A tuple that is built field by field."""

    first: Any
    second: Any


class WholeConfig(UserDict):
    """As the config package's whole config: a mapping that is no dict."""


@pytest.fixture
def nets():
    registry = Registry("net", scope="toy")
    registry.register_module(module=Net)
    registry.register_module(module=make_net)
    return registry


@pytest.fixture
def dotted(monkeypatch):
    module = types.ModuleType("toy_nets")
    module.Net = Net
    monkeypatch.setitem(sys.modules, "toy_nets", module)
    return "toy_nets.Net"


@pytest.mark.parametrize(
    "type_",
    [
        "Net",
        "toy.Net",
        "make_net",
        Net,
        make_net,
        Net.narrow,
        partial(Net, width=3),
        Lazy("toy_nets.Net", Net),
    ],
    ids=lambda value: getattr(value, "__qualname__", None) or repr(value)[:20],
)
def test_a_type_is_a_name_a_class_a_function_or_a_lazy_object(nets, type_):
    assert nets.build({"type": type_, "depth": 50}).depth == 50
    assert nets.build({"type": type_, "depth": 34}).depth == 34


def test_a_type_may_be_a_dotted_path(nets, dotted):
    assert nets.build({"type": dotted, "depth": 50}).depth == 50
    assert nets.build({"type": dotted + ".narrow", "depth": 5}).width == 8
    assert nets.get(dotted) is Net


def test_a_dotted_path_reaches_modules_that_nobody_imported_yet(nets):
    assert nets.build({"type": "xml.dom.minidom.Document"}).nodeName == "#document"


def test_building_does_not_change_the_node(nets):
    node = {"type": "Net", "depth": 50}
    nets.build(node)
    nets.build(node, default_args={"width": 3})
    assert node == {"type": "Net", "depth": 50}


@pytest.mark.parametrize("kind", [dict, UserDict, WholeConfig, types.MappingProxyType], ids=repr)
def test_every_mapping_is_a_node(nets, kind):
    keys = {"type": "Net", "depth": 50}
    node = kind(keys)
    assert nets.build(node).depth == 50
    assert nets.build(node, default_args={"width": 3}).width == 3


def test_a_subclass_of_dict_decides_what_its_values_are(nets):
    class Doubling(dict):
        def __getitem__(self, key):
            value = super().__getitem__(key)
            return 2 * value if isinstance(value, int) else value

        def __iter__(self):
            return super().__iter__()

    assert nets.build(Doubling(type="Net", depth=25)).depth == 50


def test_default_args_fill_in_what_the_node_does_not_say(nets):
    net = nets.build({"type": "Net", "depth": 50}, default_args={"depth": 1, "width": 3})
    assert (net.depth, net.width) == (50, 3)


def test_default_args_may_hold_the_type(nets):
    assert nets.build({"depth": 50}, default_args={"type": "Net"}).depth == 50


def test_build_from_cfg_takes_the_registry(nets):
    assert build_from_cfg({"type": "Net"}, nets).depth == 18
    assert build_from_cfg({"type": "Net"}, nets, {"depth": 3}).depth == 3
    with pytest.raises(TypeError, match=r"must be a drivetrain\.registry\.Registry"):
        build_from_cfg({"type": "Net"}, "nets")


@pytest.mark.parametrize(
    "instance", [Net(), object(), print, partial(Net), lambda: 0], ids=lambda x: type(x).__name__
)
def test_what_was_built_already_is_returned_as_it_is(nets, instance):
    assert nets.build(instance) is instance


def test_a_build_function_of_ones_own_gets_node_arguments_and_registry():
    seen = []

    def build(cfg, registry, *args, **kwargs):
        seen.append((cfg, registry, args, kwargs))
        return "built"

    things = Registry("thing", build_func=build, scope="toy")
    node = {"type": "anything"}
    assert things.build(node, depth=3) == "built"
    assert seen == [(node, things, (), {"depth": 3})]


def test_a_build_function_can_be_replaced(nets):
    nets.build_func = lambda cfg, registry: "mine"
    assert nets.build({"type": "Net"}) == "mine"


def test_a_list_of_models_becomes_a_sequential_of_the_tree():
    models = Registry("model", build_func=build_model_from_cfg, scope="toy")
    models.register_module(module=Net)
    models.register_module(name="Sequential", module=lambda *parts: list(parts))
    parts = models.build([{"type": "Net", "depth": 1}, {"type": "Net", "depth": 2}])
    assert [part.depth for part in parts] == [1, 2]
    assert models.build({"type": "Net"}).depth == 18


def test_an_error_in_a_list_of_models_names_the_place():
    models = Registry("model", build_func=build_model_from_cfg, scope="toy")
    models.register_module(module=Net)
    with pytest.raises(TypeError, match=r"^1: Net takes no argument 'dpeth'"):
        models.build([{"type": "Net"}, {"type": "Net", "dpeth": 2}])


class Runner:
    def __init__(self, cfg):
        self.cfg = cfg

    @classmethod
    def from_cfg(cls, cfg):
        return cls(cfg)


class SpecialRunner(Runner):
    @classmethod
    def from_cfg(cls, cfg):
        scope = DefaultScope.get_current_instance()
        return cls((cfg, scope and scope.scope_name))


def test_a_runner_is_built_from_the_whole_config():
    runners = Registry("runner", build_func=build_runner_from_cfg, scope="toy")
    runners.register_module(module=Runner)
    runners.register_module(module=SpecialRunner)
    cfg = {"model": 1}
    assert runners.build(cfg).cfg == {"model": 1}
    cfg = {"runner_type": "SpecialRunner", "model": 1, "_scope_": "toy"}
    assert runners.build(cfg).cfg == ({"model": 1}, "toy")
    assert cfg == {"runner_type": "SpecialRunner", "model": 1, "_scope_": "toy"}


def test_a_runner_of_a_whole_config_gets_a_whole_config():
    runners = Registry("runner", build_func=build_runner_from_cfg, scope="toy")
    runners.register_module(module=Runner)
    assert isinstance(runners.build(WholeConfig(model=1)).cfg, WholeConfig)


def test_an_unknown_runner_type_is_told_from_the_others():
    runners = Registry("runner", build_func=build_runner_from_cfg, scope="toy")
    runners.register_module(module=SpecialRunner)
    with pytest.raises(KeyError, match="Did you mean:  'SpecialRunner'"):
        runners.build({"runner_type": "SpecalRunner"})
    with pytest.raises(NodeError, match="a node is a mapping"):
        runners.build("config.py")


class Scheduler:
    def __init__(self, optimizer, begin=0, end=10, by_epoch=True):
        self.keys = {"optimizer": optimizer, "begin": begin, "end": end, "by_epoch": by_epoch}

    @classmethod
    def build_iter_from_epoch(cls, optimizer, epoch_length, begin=0, end=10, by_epoch=True):
        return cls(optimizer, begin * epoch_length, end * epoch_length, by_epoch=False)


@pytest.fixture
def schedulers():
    registry = Registry("param_scheduler", build_func=build_scheduler_from_cfg, scope="toy")
    registry.register_module(module=Scheduler)
    return registry


def test_a_scheduler_is_built_by_its_constructor(schedulers):
    scheduler = schedulers.build(
        {"type": "Scheduler", "end": 3}, default_args={"optimizer": "sgd", "epoch_length": 7}
    )
    assert scheduler.keys == {"optimizer": "sgd", "begin": 0, "end": 3, "by_epoch": True}


def test_a_scheduler_is_converted_to_iterations(schedulers):
    node = {"type": "Scheduler", "end": 3, "convert_to_iter_based": True}
    scheduler = schedulers.build(node, default_args={"optimizer": "sgd", "epoch_length": 7})
    assert scheduler.keys == {"optimizer": "sgd", "begin": 0, "end": 21, "by_epoch": False}
    assert node["convert_to_iter_based"]


@pytest.mark.parametrize(
    ("node", "defaults"),
    [({}, {}), ({"by_epoch": False}, {"epoch_length": 7})],
    ids=["no epoch_length", "counted in iterations already"],
)
def test_a_conversion_that_makes_no_sense_is_refused(schedulers, node, defaults):
    node = {"type": "Scheduler", "convert_to_iter_based": True, **node}
    with pytest.raises(NodeError, match="convert_to_iter_based needs `epoch_length`"):
        schedulers.build(node, default_args={"optimizer": "sgd", **defaults})


def test_a_scheduler_that_was_built_already_is_returned(schedulers):
    scheduler = Scheduler("sgd")
    assert schedulers.build(scheduler, default_args={"optimizer": "sgd"}) is scheduler


def test_the_roots_build_in_their_own_ways():
    assert RUNNERS.build_func is build_runner_from_cfg
    assert PARAM_SCHEDULERS.build_func is build_scheduler_from_cfg


def test_a_lazy_object_that_cannot_be_imported_is_an_error_of_that_node(nets):
    lazy = Lazy("toy_nets.Net", ImportError("no toy_nets"))
    with pytest.raises(ImportError, match="could not be built: ImportError: no toy_nets"):
        nets.build({"type": lazy})


def _net_with(nets, **arguments):
    """A node of what gives back its arguments."""
    nets.register_module(name="keep", module=dict, force=True)
    return {"type": "keep", **arguments}


def test_lazy_objects_in_lists_and_dicts_of_the_arguments_become_what_they_stand_for(nets):
    lazy = Lazy("toy_nets.Net", Net)
    node = _net_with(
        nets,
        norm=lazy,
        norms=[lazy, [1, (lazy, "a")]],
        table={"a": {"b": [lazy]}},
        pair=Pair(lazy, 2),
        kinds={lazy},
    )
    shown = repr(node)
    built = nets.build(node)
    assert built == {
        "norm": Net,
        "norms": [Net, [1, (Net, "a")]],
        "table": {"a": {"b": [Net]}},
        "pair": Pair(Net, 2),
        "kinds": {Net},
    }
    assert repr(node) == shown  # the config keeps its references


def test_containers_without_lazy_objects_are_passed_on_as_they_are(nets):
    sizes, table = [1, 2], {"a": [3]}
    around = [sizes]
    around.append(around)
    built = nets.build(_net_with(nets, sizes=sizes, table=table, around=around))
    assert built["sizes"] is sizes
    assert built["table"] is table
    assert built["around"] is around


def test_nodes_in_the_arguments_stay_nodes_for_whoever_builds_them(nets):
    node = {"type": Lazy("toy_nets.Net", Net), "depth": 1}
    built = nets.build(_net_with(nets, inner=node, stages=[node]))
    assert built["inner"] is node
    assert built["stages"][0] is node


@pytest.mark.parametrize("scope", [{}, {"_scope_": "toy"}])
def test_a_lazy_object_in_a_list_that_cannot_be_imported_is_an_error_of_that_node(nets, scope):
    lazy = Lazy("toy_nets.Net", ImportError("no toy_nets"))
    for _ in range(2):  # the second one takes the quick way
        with pytest.raises(ImportError, match="could not be built: ImportError: no toy_nets"):
            nets.build(_net_with(nets, norms=[lazy], **scope))
        nets.build(_net_with(nets, **scope))


def test_references_of_a_config_in_lists_are_built_and_still_dumped_as_references(tmp_path, nets):
    config = pytest.importorskip("drivetrain.config")
    (tmp_path / "c.py").write_text(
        "from drivetrain.config import read_base\nwith read_base():\n    from .base import *\n",
        encoding="utf-8",
    )
    (tmp_path / "base.py").write_text(
        "from drivetrain.config import read_base\nfrom toy_there import Net\n"
        "node = dict(type='keep', norms=[Net], by_name=dict(a=dict(b=(Net, 1))))\n",
        encoding="utf-8",
    )
    (tmp_path / "toy_there.py").write_text("class Net: ...\n", encoding="utf-8")
    cfg = config.Config.fromfile(tmp_path / "c.py")
    text = cfg.pretty_text
    _net_with(nets)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        built = nets.build(cfg.node)
    net = sys.modules.pop("toy_there").Net
    assert built["norms"] == [net]
    assert built["by_name"]["a"]["b"] == (net, 1)
    assert cfg.pretty_text == text
    assert "from toy_there import Net" in text


def test_a_list_of_models_becomes_torchs_sequential_where_the_tree_has_none():
    nn = pytest.importorskip("torch.nn")
    models = Registry("model", build_func=build_model_from_cfg, scope="toy")
    cfg = [
        {"type": "torch.nn.Linear", "in_features": 2, "out_features": 3},
        {"type": "torch.nn.ReLU"},
    ]
    built = models.build(cfg)
    assert type(built) is nn.Sequential
    assert [type(part) for part in built] == [nn.Linear, nn.ReLU]


def test_a_node_without_type_is_a_key_error_too() -> None:
    with pytest.raises(KeyError, match="has no `type`"):
        Registry("m", scope="ex").build({"typ": "A"})


def test_an_error_shows_the_place_that_a_node_knows() -> None:
    """By protocol: this package knows nothing of the one that loads configs."""

    class Node(dict):
        def __config_place__(self):
            return "train.py", 7

    with pytest.raises(KeyError, match=r"(?s)no 'Nope'.*Config: +train.py:7"):
        Registry("m", scope="ex").build(Node(type="Nope"))


def test_a_list_of_models_without_torch_says_what_is_missing(monkeypatch):
    monkeypatch.setattr("drivetrain.registry._build.import_object", lambda path: None)
    models = Registry("model", build_func=build_model_from_cfg, scope="no_torch")
    models.register_module(name="Part", module=dict)

    with pytest.raises(ImportError, match="torch is not installed") as caught:
        models.build([{"type": "Part"}])

    assert isinstance(caught.value, RegistryError)
