"""All mistakes of a config at once, before anything is built."""

from __future__ import annotations

import json

import pytest

from drivetrain.registry import (
    CheckError,
    ManagerMixin,
    Registry,
    Root,
    UsageError,
    check,
)


class Built:
    """Components that must never be built by a check."""

    def __init__(self):
        raise AssertionError("a check builds nothing")


class ResNet(Built):
    def __init__(self, depth, norm_cfg=None):
        super().__init__()


class Detector(Built):
    def __init__(self, backbone, neck=None, init_cfg=None):
        super().__init__()


class Anything(Built):
    def __init__(self, **kwargs):
        super().__init__()


class SGD(Built):
    def __init__(self, params, lr=0.1):
        super().__init__()


class Timer(Built):
    def __init__(self, interval_iters=50):
        super().__init__()


class Board(ManagerMixin):
    def __init__(self, name, backends=()):
        raise AssertionError("a check builds nothing")


class Lazy:
    def __init__(self, target):
        self.target = target

    @property
    def dotted_path(self):
        return "toy_lazy.Target"

    def build(self):
        if self.target is None:
            raise ImportError("no toy_lazy")
        return self.target


def registry_of(name, *components):
    registry = Registry(name, scope="toy")
    for component in components:
        registry.register_module(module=component)
    return registry


models = registry_of("toy_model", ResNet, Detector, Anything)
optimizers = registry_of("toy_optimizer", SGD)
hooks = registry_of("toy_hook", Timer)
boards = registry_of("toy_board", Board)

ROOTS = {
    "model": models,
    "optimizer": Root(optimizers, given=("params",)),
    "hooks": hooks,
    "default_hooks.*": hooks,
    "board": Root(boards, given=("name",), default_type="Board", consumed=("save_dir",)),
}


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch):
    """What else is installed here is not the matter of these tests, and slow to import."""
    monkeypatch.setattr("drivetrain.registry._registry.providers_for", lambda *args: [])


def found(cfg, roots=ROOTS):
    return [(p.path, p.kind) for p in check(cfg, roots).problems]


def test_a_config_without_mistakes_is_ok():
    report = check(
        {
            "model": {"type": "Detector", "backbone": {"type": "ResNet", "depth": 50}},
            "optimizer": {"type": "SGD", "lr": 0.1},
            "hooks": [{"type": "Timer"}],
            "default_hooks": {"timer": {"type": "Timer", "interval_iters": 1}, "logger": None},
            "board": {"save_dir": "out"},
            "max_epochs": 3,
        },
        ROOTS,
    )
    assert report.ok
    assert report.problems == report.suspicions == ()
    assert report.checked == 6
    assert str(report) == "6 nodes checked: 0 mistakes, 0 suspicions."
    report.raise_if_bad()


def test_all_mistakes_are_found_at_once():
    cfg = {
        "model": {"type": "Detectr", "backbone": {"type": "ResNet", "depth": 50}},
        "optimizer": {"type": "SGD", "rl": 0.1, "params": []},
        "hooks": [{"type": "Timer"}, {"type": "Timer", "intervall": 3}, {"tpye": "Timer"}],
        "default_hooks": {"timer": {"type": "Tmer"}},
        "board": "Board",
    }
    assert found(cfg) == [
        ("model", "unknown type"),
        ("optimizer", "unknown argument"),
        ("optimizer", "duplicate argument"),
        ("hooks.1", "unknown argument"),
        ("hooks.2", "no type"),
        ("default_hooks.timer", "unknown type"),
        ("board", "no node"),
    ]


@pytest.mark.parametrize(
    ("cfg", "kind", "first"),
    [
        ({"model": {"type": "ResNet"}}, "missing argument", "model: ResNet needs 'depth'."),
        (
            {"model": {"type": "ResNet", "depht": 1}},
            "unknown argument",
            "model: ResNet takes no argument 'depht'.",
        ),
        ({"model": {"type": 3}}, "unknown type", "model: `type` must be a name, a class"),
        (
            {"model": {"type": Lazy(None)}},
            "no import",
            "model: cannot import 'toy_lazy.Target': ImportError: no toy_lazy",
        ),
        (
            {"model": {"type": "xml.no_such.Thing"}},
            "unknown type",
            "model: no 'xml.no_such.Thing' in registry 'toy_model'",
        ),
        ({"model": 3}, "no node", "model: a node is a mapping with `type`, got int 3."),
        (
            {"optimizer": {"type": "SGD", "params": 1}},
            "duplicate argument",
            "optimizer: SGD is given 'params' twice.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_of_mistake_is_told_in_one_line(cfg, kind, first):
    problem = check(cfg, ROOTS).problems[0]
    assert problem.kind == kind
    assert str(problem).startswith(first)


def test_a_type_may_be_a_class_or_a_lazy_object():
    assert found({"model": {"type": ResNet, "depth": 1}}) == []
    assert found({"model": {"type": Lazy(ResNet), "depth": 1}}) == []
    assert found({"model": {"type": Lazy(ResNet)}}) == [("model", "missing argument")]


def test_a_component_that_takes_any_argument_is_not_blamed():
    assert found({"model": {"type": "Anything", "whatever": 1}}) == []


def test_a_node_that_only_binds_arguments_lacks_none():
    functions = Registry("toy_function", scope="toy")
    functions.register_module(name="collate", module=lambda batch, pad=0: batch)
    roots = {"collate_fn": Root(functions, partial=True)}
    assert found({"collate_fn": {"type": "collate", "pad": 1}}, roots) == []
    assert found({"collate_fn": {"type": "collate", "padd": 1}}, roots) == [
        ("collate_fn", "unknown argument")
    ]


def test_what_was_built_already_is_not_looked_at():
    assert found({"model": object(), "hooks": [object()]}) == []


def test_nodes_inside_of_nodes_give_suspicions_only():
    """A detector may add a depth, or take keys out, before it builds its backbone."""
    cfg = {
        "model": {
            "type": "Detector",
            "backbone": {"type": "ResNet", "depthh": 50},
            "neck": {"type": "FPNN"},
            "init_cfg": {"type": "Timer"},
        }
    }
    report = check(cfg, ROOTS)
    assert report.ok
    assert [(p.path, p.kind) for p in report.suspicions] == [
        ("model.backbone", "unknown argument"),
        ("model.neck", "unknown type"),
    ]
    assert "(perhaps)" in str(report)


def test_without_roots_everything_is_a_suspicion():
    report = check({"anywhere": [{"type": "NoSuchThingAtAll"}]})
    assert report.ok
    assert [p.path for p in report.suspicions] == ["anywhere.0"]


def test_one_registry_alone_is_about_the_node_itself():
    report = check({"type": "ResNet", "dpeth": 1}, models)
    assert [p.kind for p in report.problems] == ["unknown argument", "missing argument"]
    assert "Did you mean:  'depth'" in str(report)


def test_the_scope_of_a_node_holds_for_the_check_too():
    root = Registry("toy_net", scope="toy")
    child = Registry("toy_net", parent=root, scope="toy_zoo")
    child.register_module(module=ResNet)
    cfg = {"net": {"type": "ResNet", "_scope_": "toy_zoo", "depth": 1}}
    assert found(cfg, {"net": root}) == []
    assert found({"net": {"type": "ResNet", "depth": 1}}, {"net": root}) == [
        ("net", "unknown type")
    ]


def test_several_nodes_may_stand_where_one_is_expected():
    cfg = {"model": {"generator": {"type": "Anything"}, "discriminator": {"type": "Anything"}}}
    assert found(cfg) == []


def test_the_report_is_data_too():
    report = check({"model": {"type": "ResNet"}}, ROOTS)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["ok"] is False
    assert data["problems"][0]["path"] == "model"
    assert data["problems"][0]["kind"] == "missing argument"


def test_file_and_line_are_shown_where_they_are_known():
    report = check({"model": {"type": "ResNet"}}, ROOTS, locate={"model": "cfg.py:3"}.get)
    assert "Config:        cfg.py:3" in str(report)


def test_a_bad_report_can_be_raised():
    report = check({"model": {"type": "ResNt"}, "hooks": [{"type": "Tmer"}]}, ROOTS)
    with pytest.raises(CheckError, match=r"the config has 2 mistakes\.\nmodel: no 'ResNt'") as err:
        report.raise_if_bad()
    assert isinstance(err.value, ValueError)
    assert "hooks.0: no 'Tmer'" in str(err.value)


def test_a_check_changes_nothing():
    cfg = {"model": {"type": "ResNet", "depth": 1, "norm_cfg": {"type": "BN"}}}
    before = json.dumps(cfg)
    check(cfg, ROOTS)
    assert json.dumps(cfg) == before


def test_a_problem_names_the_line_of_a_node_that_knows_it():
    """Nodes of a loaded config do, by ``__config_place__``; nobody has to pass ``locate``."""

    class Node(dict):
        def __config_place__(self):
            return "train.py", 7

    report = check({"a": Node(type="Nope")}, {"a": Registry("hook", scope="lines")})

    assert ("Config:", "train.py:7") in report.problems[0].details


@pytest.mark.parametrize(
    ("cfg", "roots", "message"),
    [
        (3, None, "cfg is a config, or a part of one, got int '3'"),
        ({}, "model", r"roots is a mapping .*got str 'model'"),
        ({}, {"model": "MODELS"}, "a root is a Registry or a Root, got str 'MODELS'"),
    ],
)
def test_a_check_of_something_else_is_refused(cfg, roots, message):
    with pytest.raises(UsageError, match=message):
        check(cfg, roots)
