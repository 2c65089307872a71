"""Registering classes and functions."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
from functools import partial

import pytest

from drivetrain.registry import (
    HOOKS,
    DuplicateNameError,
    RegistrationError,
    Registry,
)


class ResNet:
    def __init__(self, depth=18, stages=4):
        self.depth = depth
        self.stages = stages


def resnet50():
    return ResNet(50)


@pytest.fixture
def models():
    return Registry("model", scope="toy")


def test_a_class_is_registered_under_its_own_name(models):
    assert models.register_module(module=ResNet) is ResNet
    assert models.get("ResNet") is ResNet


def test_the_decorator_returns_what_it_decorates(models):
    decorated = models.register_module()(ResNet)

    assert decorated is ResNet
    assert "ResNet" in models


def test_a_function_is_registered_like_a_class(models):
    models.register_module(module=resnet50)
    assert models.build({"type": "resnet50"}).depth == 50


def test_one_component_may_have_several_names(models):
    models.register_module(name=["net", "network"], module=ResNet)
    assert models.get("net") is models.get("network") is ResNet
    assert "ResNet" not in models


def test_a_name_may_be_given_by_position(models):
    models.register_module("net")(ResNet)
    assert models.get("net") is ResNet


def test_a_taken_name_is_refused_with_both_places(models):
    models.register_module(module=ResNet)
    with pytest.raises(KeyError) as caught:
        models.register_module(name="ResNet", module=resnet50)
    assert isinstance(caught.value, DuplicateNameError)
    assert str(caught.value).splitlines()[0] == (
        "'ResNet' is already registered in 'model' (scope 'toy')."
    )
    assert "resnet50" in str(caught.value)
    assert models.get("ResNet") is ResNet


def test_of_several_names_none_is_registered_when_one_is_taken(models):
    models.register_module(name="b", module=ResNet)
    with pytest.raises(DuplicateNameError):
        models.register_module(name=["a", "b"], module=resnet50)
    assert list(models.module_dict) == ["b"]


def test_force_replaces_a_component_also_where_it_was_built_before(models):
    models.register_module(name="net", module=ResNet)
    assert models.build({"type": "net"}).depth == 18
    models.register_module(name="net", force=True, module=resnet50)
    assert models.build({"type": "net"}).depth == 50


@pytest.mark.parametrize("change", ["pop", "del", "clear", "popitem"])
def test_a_name_taken_out_of_module_dict_is_gone(models, change):
    models.register_module(module=ResNet)
    models.build({"type": "ResNet"})
    if change == "pop":
        models.module_dict.pop("ResNet")
    elif change == "del":
        del models.module_dict["ResNet"]
    elif change == "clear":
        models.module_dict.clear()
    else:
        models.module_dict.popitem()
    with pytest.raises(KeyError, match="no 'ResNet'"):
        models.build({"type": "ResNet"})


def test_names_put_into_module_dict_are_found(models):
    models.module_dict["a"] = ResNet
    models.module_dict.update(b=ResNet)
    models.module_dict.setdefault("c", ResNet)
    models.module_dict.setdefault("c", resnet50)
    assert [models.get(name) for name in "abc"] == [ResNet] * 3


def test_a_partial_needs_a_name(models):
    with pytest.raises(RegistrationError, match="has no __name__"):
        models.register_module(module=partial(ResNet, depth=34))
    models.register_module(name="net34", module=partial(ResNet, depth=34))
    assert models.build({"type": "net34"}).depth == 34


@pytest.mark.parametrize("wrong", [1, "ResNet", object()], ids=repr)
def test_only_something_to_call_can_be_registered(models, wrong):
    with pytest.raises(TypeError, match="must be a class or a function"):
        models.register_module(module=wrong)


@pytest.mark.parametrize("wrong", [1, [1], [], {"a"}, ""], ids=repr)
def test_names_must_be_strings(models, wrong):
    with pytest.raises(TypeError, match="name to register must be a string"):
        models.register_module(name=wrong, module=ResNet)


def test_a_decorator_without_parentheses_is_told_so(models):
    with pytest.raises(TypeError, match=r"@REGISTRY.register_module\(\) with parentheses"):
        models.register_module(ResNet)


def test_force_must_be_a_bool(models):
    with pytest.raises(TypeError, match="`force` must be a bool"):
        models.register_module("net", ResNet)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": ""}, "`name` must be a string"),
        ({"name": None}, "`name` must be a string"),
        ({"name": "x", "build_func": 1}, "`build_func` must be callable"),
        ({"name": "x", "parent": "model"}, "`parent` must be a Registry"),
        ({"name": "x", "scope": "a.b"}, "`scope` must be a string without dots"),
        ({"name": "x", "locations": "pkg.models"}, "`locations` must be a list"),
    ],
    ids=lambda value: str(value),
)
def test_a_registry_refuses_arguments_of_the_wrong_type(arguments, text):
    with pytest.raises(TypeError, match=text):
        Registry(**arguments)


def test_a_registry_knows_its_name_scope_size_and_components(models):
    models.register_module(module=ResNet)
    models.register_module(module=resnet50)
    assert (models.name, models.scope, len(models)) == ("model", "toy", 2)
    assert models.module_dict == {"ResNet": ResNet, "resnet50": resnet50}
    assert models.children == {}
    assert models.root is models


def test_an_empty_registry_is_still_true(models):
    assert len(models) == 0
    assert models


def test_its_repr_is_a_table_of_names_and_places(models):
    models.register_module(module=ResNet)
    head, row = repr(models).splitlines()
    assert head == "Registry(name='model', scope='toy', 1 names)"
    assert row.split()[0] == "ResNet"
    assert row.endswith("ResNet")


def test_a_copy_of_a_registry_is_the_registry(models):
    assert copy.copy(models) is models
    assert copy.deepcopy({"registry": models})["registry"] is models


def test_a_pickled_registry_is_the_living_one_of_that_name():
    assert pickle.loads(pickle.dumps(HOOKS)) is HOOKS


def test_the_scope_of_a_registry_is_the_package_that_creates_it():
    class Special(Registry):
        def __init__(self, name):
            super().__init__(name)

    package = __name__.partition(".")[0]
    assert Registry("x").scope == package
    assert Special("x").scope == package
    assert Registry.infer_scope() == package


def test_a_registry_can_be_parametrized_and_subclassed():
    class Nets(Registry[ResNet]):
        def twice(self, cfg):
            return [self.build(cfg), self.build(cfg)]

    nets = Nets("net", scope="toy")
    nets.register_module(module=ResNet)
    assert [net.depth for net in nets.twice({"type": "ResNet", "depth": 3})] == [3, 3]
    assert isinstance(Registry[ResNet]("net", scope="toy"), Registry)


def test_a_module_that_is_loaded_again_may_register_again(tmp_path, monkeypatch) -> None:
    """A config that failed to load has its modules unloaded; corrected, it imports them anew."""
    (tmp_path / "dt_birds.py").write_text(
        "from drivetrain.registry import MODELS as ROOT, Registry\n"
        "MODELS = Registry('model', parent=ROOT, scope='dt_birds')\n"
        "@MODELS.register_module()\n"
        "class Finch: pass\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    first = importlib.import_module("dt_birds")
    del sys.modules["dt_birds"]
    second = importlib.import_module("dt_birds")
    monkeypatch.delitem(sys.modules, "dt_birds")

    assert first.Finch is not second.Finch
    assert second.MODELS.parent.get("dt_birds.Finch") is second.Finch
    second.MODELS.parent._children.pop("dt_birds")
