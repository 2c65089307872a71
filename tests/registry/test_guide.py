"""The guide's chapters on registries and on named instances, example by example."""

from __future__ import annotations

import json
import time

import pytest

from drivetrain.registry import (
    HOOKS,
    DefaultScope,
    InstanceError,
    ManagerMeta,
    ManagerMixin,
    Registry,
    UsageError,
    build_from_cfg,
    build_runner_from_cfg,
    count_registered_modules,
    traverse_registry_tree,
)


class Module:
    """What a network is made of here: something to call, that says so."""

    def __call__(self, value):
        return f"{type(self).__name__}({value})"


@pytest.fixture
def activations():
    registry = Registry("activation", scope="drivetrain", locations=[])

    @registry.register_module()
    class Sigmoid(Module):
        pass

    @registry.register_module()
    class ReLU(Module):
        def __init__(self, inplace=False):
            self.inplace = inplace

    @registry.register_module()
    class Softmax(Module):
        pass

    return registry


def test_a_registry_maps_names_to_classes(activations):
    assert list(activations.module_dict) == ["Sigmoid", "ReLU", "Softmax"]
    assert activations.module_dict["ReLU"] is activations.get("ReLU")


def test_another_activation_is_another_config(activations):
    assert activations.build({"type": "Sigmoid"})("x") == "Sigmoid(x)"
    relu = activations.build({"type": "ReLU", "inplace": True})
    assert (relu("x"), relu.inplace) == ("ReLU(x)", True)


def test_modules_in_locations_are_registered_by_the_first_build(announce, monkeypatch):
    registry = Registry("activation", scope="toy", locations=["toy_project.activations"])
    monkeypatch.setattr("drivetrain.registry.ACTIVATION", registry, raising=False)
    source = (
        "from drivetrain.registry import ACTIVATION\n"
        "@ACTIVATION.register_module()\n"
        "class Tanh: pass\n"
    )
    announce({}, {"toy_project.__init__": "", "toy_project.activations": source})
    assert len(registry) == 0
    assert type(registry.build({"type": "Tanh"})).__module__ == "toy_project.activations"


def test_a_build_function_can_look_at_the_arguments_first():
    seen = []

    def build_activation(cfg, registry, *args, **kwargs):
        cfg_ = cfg.copy()
        act_type = cfg_.pop("type")
        seen.append(act_type)
        return registry.get(act_type)(*args, **kwargs, **cfg_)

    registry = Registry("activation", build_func=build_activation, scope="drivetrain")

    @registry.register_module()
    class Tanh(Module):
        pass

    assert registry.build({"type": "Tanh"})("x") == "Tanh(x)"
    assert seen == ["Tanh"]


def test_functions_are_registered_and_called_like_classes():
    functions = Registry("function", scope="drivetrain")

    @functions.register_module()
    def print_args(**kwargs):
        return kwargs

    assert functions.build({"type": "print_args", "a": 1, "b": 2}) == {"a": 1, "b": 2}


class Projects:
    """A root registry, and two projects that have it as their parent."""

    def __init__(self):
        self.root = Registry("model", scope="drivetrain")
        self.alpha = Registry("model", parent=self.root, scope="mmalpha")
        self.beta = Registry("model", parent=self.root, scope="mmbeta")

        @self.root.register_module()
        class RReLU(Module):
            def __init__(self, lower=0.125, upper=0.333, inplace=False):
                self.lower = lower

        @self.alpha.register_module()
        class LogSoftmax(Module):
            def __init__(self, dim=None):
                self.dim = dim


@pytest.fixture
def projects():
    return Projects()


@pytest.mark.parametrize("type_", ["RReLU", "drivetrain.RReLU", "mmengine.RReLU"])
def test_a_project_uses_modules_of_its_parent(projects, type_):
    assert projects.alpha.build({"type": "LogSoftmax"})("x") == "LogSoftmax(x)"
    assert projects.alpha.build({"type": type_, "lower": 0.2}).lower == 0.2


def test_a_project_uses_modules_of_its_sibling(projects):
    assert projects.beta.build({"type": "mmalpha.LogSoftmax"})("x") == "LogSoftmax(x)"
    model = projects.beta.build({"type": "LogSoftmax", "_scope_": "mmalpha"})
    assert model("x") == "LogSoftmax(x)"


def test_a_prefix_on_every_part_and_one_scope_for_all_mean_the_same():
    root = Registry("model", scope="drivetrain")
    mmdet = Registry("model", parent=root, scope="mmdet")
    mmtrack = Registry("model", parent=root, scope="mmtrack")

    @mmdet.register_module()
    class Darknet(Module):
        pass

    @mmdet.register_module()
    class YOLOX(Module):
        def __init__(self, backbone):
            self.backbone = root.build(backbone)

    prefixed = {"type": "mmdet.YOLOX", "backbone": {"type": "mmdet.Darknet"}}
    scoped = {"_scope_": "mmdet", "type": "YOLOX", "backbone": {"type": "Darknet"}}
    for cfg in (prefixed, scoped):
        assert type(mmtrack.build(cfg).backbone) is Darknet


def test_the_tree_is_counted(projects, capsys):
    def row(scope, *names):
        return {
            "num_modules": len(names),
            "name": "model",
            "scope": scope,
            "modules": list(names),
        }

    assert traverse_registry_tree(projects.beta) == [
        row("drivetrain", "RReLU"),
        row("mmalpha", "LogSoftmax"),
        row("mmbeta"),
    ]
    assert "model (mmalpha): 1\n  LogSoftmax\n" in capsys.readouterr().out


def test_all_modules_are_counted_and_saved(tmp_path, capsys):
    HOOKS.register_module(name="ToyCountedHook", module=dict)
    try:
        result = count_registered_modules(save_path=tmp_path / "not" / "there", verbose=False)
    finally:
        HOOKS.module_dict.pop("ToyCountedHook")
    assert capsys.readouterr().out == ""
    saved = json.loads((tmp_path / "not" / "there" / "modules_statistic_results.json").read_text())
    assert saved == result
    assert "ToyCountedHook" in result["registries"]["HOOKS"][0]["modules"]
    assert len(result["registries"]) == 23


def test_scopes_switch_and_switch_back(projects):
    custom = Registry("custom_model", scope="custom", parent=projects.root)
    DefaultScope.get_instance(f"scope_{time.time()}", scope_name="custom")
    with custom.switch_scope_and_registry(scope="mmalpha") as registry:
        assert (DefaultScope.get_current_instance().scope_name, registry.scope) == (
            "mmalpha",
            "mmalpha",
        )
    with (
        custom.switch_scope_and_registry(scope="mmbeta") as outer,
        custom.switch_scope_and_registry(scope="mmalpha") as inner,
    ):
        assert (outer.scope, inner.scope) == ("mmbeta", "mmalpha")
    assert DefaultScope.get_current_instance().scope_name == "custom"


def test_a_runner_is_built_from_a_whole_config():
    runners = Registry("runners", build_func=build_runner_from_cfg, scope="toy")

    @runners.register_module()
    class CustomRunner:
        @classmethod
        def from_cfg(cls, cfg):
            runner = cls()
            runner.cfg = cfg
            return runner

    assert runners.build({"runner_type": "CustomRunner", "work_dir": "x"}).cfg == {"work_dir": "x"}


def test_build_from_cfg_calls_classes_and_functions():
    models = Registry("models", scope="toy")

    @models.register_module()
    class ResNet:
        def __init__(self, depth, stages=4):
            self.depth, self.stages = depth, stages

    @models.register_module()
    def resnet50():
        return ResNet(depth=50)

    assert build_from_cfg({"type": "ResNet", "depth": 50}, models).stages == 4
    assert build_from_cfg({"type": "resnet50"}, models).depth == 50


class GlobalClass(ManagerMixin):
    def __init__(self, name, value):
        super().__init__(name)
        self.value = value


def test_named_instances_are_reached_from_everywhere():
    GlobalClass.get_instance("drivetrain", value=50)
    GlobalClass.get_instance("experiment", value=100)

    assert GlobalClass.get_current_instance().value == 100
    assert GlobalClass.get_instance("drivetrain").value == 50
    with pytest.raises(InstanceError):
        GlobalClass.get_instance("drivetrain", value=1000)


def test_a_class_of_the_metaclass_needs_a_name():
    with pytest.raises(UsageError, match="takes no argument 'name'"):
        ManagerMeta("SubClass1", (), {"__init__": lambda self, *args, **kwargs: None})

    class SubClass2(metaclass=ManagerMeta):
        def __init__(self, name):
            pass

    assert SubClass2._instance_dict == {}
