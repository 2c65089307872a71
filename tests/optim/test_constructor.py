from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from drivetrain.optim import (
    DefaultOptimWrapperConstructor,
    OptimTypeError,
    OptimWrapper,
    ParamwiseError,
    build_optim_wrapper,
)


class DeformConv2d(nn.Module):
    """Stands for the layer of that name in another library: it is recognized by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_offset = nn.Conv2d(2, 2, 1)


class DeformConv2dPack(DeformConv2d):
    """In that library the layers with offsets of their own are subclasses."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"layer0": nn.Linear(2, 2), "layer1": nn.Linear(2, 2)})
        self.depthwise = nn.Conv2d(2, 2, 1, groups=2)
        self.norm = nn.BatchNorm2d(2)
        self.deform = DeformConv2d()
        self.scale = nn.Parameter(torch.ones(3))


def settings(model: nn.Module, paramwise_cfg: dict, **optimizer) -> dict[str, tuple[float, float]]:
    """Build, and return learning rate and weight decay by parameter name."""
    optimizer = {"type": "SGD", "lr": 1.0, "weight_decay": 0.1, **optimizer}
    wrapper = DefaultOptimWrapperConstructor({"optimizer": optimizer}, paramwise_cfg)(model)
    names = {param: name for name, param in model.named_parameters()}
    return {
        names[param]: (group["lr"], group["weight_decay"])
        for group in wrapper.optimizer.param_groups
        for param in group["params"]
    }


def changed(model: nn.Module, paramwise_cfg: dict) -> dict[str, tuple[float, float]]:
    return {name: s for name, s in settings(model, paramwise_cfg).items() if s != (1.0, 0.1)}


def test_without_rules_there_is_one_group() -> None:
    wrapper = DefaultOptimWrapperConstructor({"optimizer": {"type": "SGD", "lr": 0.1}})(Net())
    assert isinstance(wrapper, OptimWrapper)
    assert len(wrapper.optimizer.param_groups) == 1
    assert wrapper.get_lr() == {"lr": [0.1]}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param(
            {"bias_lr_mult": 2.0},
            {
                "backbone.layer0.bias": (2.0, 0.1),
                "backbone.layer1.bias": (2.0, 0.1),
                "depthwise.bias": (2.0, 0.1),
            },
            id="bias_lr_mult",
        ),
        pytest.param(
            {"norm_decay_mult": 0.0},
            {"norm.weight": (1.0, 0.0), "norm.bias": (1.0, 0.0)},
            id="norm_decay_mult",
        ),
        pytest.param(
            {"dwconv_decay_mult": 0.0},
            {"depthwise.weight": (1.0, 0.0), "depthwise.bias": (1.0, 0.0)},
            id="dwconv_decay_mult",
        ),
        pytest.param(
            {"bias_decay_mult": 0.0},
            {
                "backbone.layer0.bias": (1.0, 0.0),
                "backbone.layer1.bias": (1.0, 0.0),
                "depthwise.bias": (1.0, 0.0),
            },
            id="bias_decay_mult",
        ),
        pytest.param(
            {"flat_decay_mult": 0.0, "norm_decay_mult": 1.0, "bias_decay_mult": 1.0},
            {"scale": (1.0, 0.0)},
            id="flat_decay_mult",
        ),
        pytest.param(
            {"dcn_offset_lr_mult": 0.5},
            {"deform.conv_offset.weight": (0.5, 0.1), "deform.conv_offset.bias": (0.5, 0.1)},
            id="dcn_offset_lr_mult",
        ),
        pytest.param(
            {"custom_keys": {"backbone": {"lr_mult": 0.5}, "backbone.layer0": {"lr_mult": 0}}},
            {
                "backbone.layer0.weight": (0.0, 0.1),
                "backbone.layer0.bias": (0.0, 0.1),
                "backbone.layer1.weight": (0.5, 0.1),
                "backbone.layer1.bias": (0.5, 0.1),
            },
            id="custom_keys: the longest wins",
        ),
        pytest.param(
            {"norm_decay_mult": 0.0, "custom_keys": {".norm": {"decay_mult": 0.5}}},
            {"norm.weight": (1.0, 0.05), "norm.bias": (1.0, 0.05)},
            id="custom_keys: other rules are ignored; a leading dot means a whole name",
        ),
    ],
)
def test_a_rule_changes_these_parameters_and_no_others(rules, expected) -> None:
    assert changed(Net(), rules) == expected


def test_a_subclass_of_a_deformable_convolution_is_one() -> None:
    model = nn.ModuleDict({"deform": DeformConv2dPack()})
    rules = {"dcn_offset_lr_mult": 0.5, "bias_lr_mult": 3.0, "bias_decay_mult": 0.0}
    assert changed(model, rules) == {
        "deform.conv_offset.weight": (0.5, 0.1),
        "deform.conv_offset.bias": (0.5, 0.1),
    }


@given(
    rules=st.dictionaries(
        st.sampled_from(
            [f"{what}_decay_mult" for what in ("bias", "norm", "dwconv", "flat")]
            + ["bias_lr_mult", "dcn_offset_lr_mult"]
        ),
        st.sampled_from([0.0, 0.5, 2.0]),
    )
)
def test_rules_combine_as_documented(rules) -> None:
    """The documented exceptions, written out once more."""
    for name, (lr, decay) in settings(Net(), rules).items():
        owner, _, leaf = name.rpartition(".")
        is_bias = leaf == "bias" and owner not in ("norm", "deform.conv_offset")
        lr_mult = rules.get("bias_lr_mult", 1) if is_bias else 1
        decay_mult = 1
        if owner == "deform.conv_offset":
            lr_mult = rules.get("dcn_offset_lr_mult", 1)
        elif owner == "norm" and "norm_decay_mult" in rules:
            decay_mult = rules["norm_decay_mult"]
        elif owner == "depthwise" and "dwconv_decay_mult" in rules:
            decay_mult = rules["dwconv_decay_mult"]
        elif is_bias and "bias_decay_mult" in rules:
            decay_mult = rules["bias_decay_mult"]
        elif leaf in ("bias", "scale") or owner == "norm":
            decay_mult = rules.get("flat_decay_mult", 1)
        assert (lr, decay) == (pytest.approx(lr_mult), pytest.approx(0.1 * decay_mult)), name


def test_other_settings_in_custom_keys_reach_the_group() -> None:
    cfg = {"optimizer": {"type": "SGD", "lr": 1.0}}
    rules = {"custom_keys": {"norm": {"momentum": 0.7, "mine": "x"}}}
    groups = DefaultOptimWrapperConstructor(cfg, rules)(Net()).optimizer.param_groups
    assert [group["momentum"] for group in groups if group.get("mine") == "x"] == [0.7, 0.7]


def test_frozen_parameters_are_in_the_optimizer_with_its_own_settings() -> None:
    model = Net()
    model.norm.weight.requires_grad_(False)
    assert settings(model, {"norm_decay_mult": 0.0})["norm.weight"] == (1.0, 0.1)


def test_an_exemption_from_decay_that_fits_nothing_is_a_warning(caplog_of) -> None:
    """Schedules for many models exempt ``.cls_token``, whether a model has one or not."""
    rules = {"custom_keys": {".cls_token": {"decay_mult": 0.0}, "norm": {"lr_mult": 0.1}}}
    lines = caplog_of(lambda: settings(Net(), rules))
    assert any("'.cls_token' is in no parameter's name" in line for line in lines)


def test_a_custom_key_may_be_for_frozen_parameters_only() -> None:
    model = Net()
    for param in model.norm.parameters():
        param.requires_grad_(False)
    rules = {"custom_keys": {"norm": {"lr_mult": 0.1}}}
    assert settings(model, rules)["norm.weight"] == (1.0, 0.1)


def test_a_parameter_held_twice_is_left_out_the_second_time(caplog_of) -> None:
    model = Net()
    model.again = nn.ModuleList([model.norm])
    built = []
    lines = caplog_of(
        lambda: built.append(settings(model, {"norm_decay_mult": 0.0, "bypass_duplicate": True}))
    )
    assert built[0]["norm.weight"] == (1.0, 0.0)
    assert any("again.0.weight is a parameter that is in the optimizer already" in x for x in lines)


def test_groups_with_equal_settings_can_be_merged() -> None:
    cfg = {"optimizer": {"type": "SGD", "lr": 1.0, "weight_decay": 0.1}}
    rules = {"norm_decay_mult": 0.0, "merge_groups": True}
    wrapper = DefaultOptimWrapperConstructor(cfg, rules)(Net())
    assert len(wrapper.optimizer.param_groups) == 2
    count = sum(len(group["params"]) for group in wrapper.optimizer.param_groups)
    assert count == len(list(Net().parameters()))
    assert wrapper.get_lr()["base_lr"] == [1.0]
    assert sum(len(group["params"]) for group in wrapper.param_groups) == count


def test_each_setting_is_logged_for_whoever_debugs(caplog_of) -> None:
    lines = caplog_of(lambda: settings(Net(), {"norm_decay_mult": 0.0}))
    assert "paramwise_options -- norm.weight:weight_decay=0.0" in lines


def test_an_own_rule_replaces_add_params() -> None:
    class Halving(DefaultOptimWrapperConstructor):
        def add_params(self, params, module, prefix="", lr=None):
            lr = self.base_lr if lr is None else lr
            for param in module.parameters(recurse=False):
                params.append({"params": [param], "lr": lr})
            for child in module.children():
                self.add_params(params, child, lr=lr * self.paramwise_cfg["factor"])

    constructor = Halving({"optimizer": {"type": "SGD", "lr": 1.0}}, {"factor": 0.5})
    assert sorted(constructor(Net()).get_lr()["lr"]) == [0.25] * 6 + [0.5] * 4 + [1.0]


@pytest.mark.parametrize(
    ("optimizer", "rules", "text"),
    [
        ({"type": "SGD", "lr": 1}, {"norm_decay": 0}, "Did you mean 'norm_decay_mult'"),
        ({"type": "SGD", "lr": 1}, {"norm_decay_mult": 0}, "has no 'weight_decay'"),
        ({"type": "SGD"}, {"bias_lr_mult": 2.0}, "has no 'lr'"),
        (
            {"type": "SGD", "lr": 1},
            {"custom_keys": {"norm": {"decay_mult": 0}}},
            r"custom_keys\['norm'\].decay_mult multiplies the weight decay",
        ),
        (
            {"type": "SGD"},
            {"custom_keys": {"norm": {"lr_mult": 0}}},
            r"custom_keys\['norm'\].lr_mult multiplies the learning rate",
        ),
        (
            {"type": "SGD", "lr": 1},
            {"custom_keys": {"bakbone": {"lr_mult": 0}}},
            r"'bakbone' is in no parameter's name. Did you mean 'backbone'.*allow_unmatched_keys",
        ),
    ],
)
def test_a_rule_that_cannot_work_is_named_with_its_remedy(optimizer, rules, text) -> None:
    with pytest.raises(ParamwiseError, match=text):
        build_optim_wrapper(Net(), {"optimizer": optimizer, "paramwise_cfg": rules})


def test_keys_for_other_models_can_be_allowed() -> None:
    rules = {"custom_keys": {"absent": {"lr_mult": 0}}, "allow_unmatched_keys": True}
    assert changed(Net(), rules) == {}


@pytest.mark.parametrize(
    ("cfg", "rules", "text"),
    [
        ("SGD", None, "optim_wrapper_cfg must be a dict, got str"),
        ({"optimizer": "SGD"}, None, "optimizer must be a dict with 'type', got str"),
        ({"optimizer": {"type": "SGD"}}, [1], "paramwise_cfg must be a dict, got list"),
        ({"optimizer": {"type": "SGD"}}, {"custom_keys": [1]}, "custom_keys must be a dict"),
        ({"optimizer": {"type": "SGD"}}, {"custom_keys": {"a": 1}}, r"custom_keys\['a'\] must be"),
    ],
)
def test_a_wrong_type_is_named(cfg, rules, text) -> None:
    with pytest.raises(OptimTypeError, match=text):
        DefaultOptimWrapperConstructor(cfg, rules)
