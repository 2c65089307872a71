from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import nn

from drivetrain.logging import MMLogger
from drivetrain.model import (
    BaseModule,
    InitCfgError,
    ModelTypeError,
    ModuleDict,
    ModuleList,
    Sequential,
    bias_init_with_prob,
    caffe2_xavier_init,
    constant_init,
    initialize,
    kaiming_init,
    normal_init,
    trunc_normal_,
    trunc_normal_init,
    uniform_init,
    update_init_info,
    xavier_init,
)
from drivetrain.registry import MODELS, WEIGHT_INITIALIZERS


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def large() -> nn.Linear:
    return nn.Linear(400, 300)


@pytest.mark.parametrize(
    ("fill", "std"),
    [
        (lambda m: normal_init(m, std=0.5, bias=2), 0.5),
        (lambda m: uniform_init(m, a=-1, b=1, bias=2), 1 / math.sqrt(3)),
        (lambda m: xavier_init(m, gain=2, bias=2), 2 * math.sqrt(2 / 700)),
        (
            lambda m: xavier_init(m, gain=2, bias=2, distribution="uniform"),
            2 * math.sqrt(2 / 700),
        ),
        (lambda m: kaiming_init(m, bias=2), math.sqrt(2 / 300)),
        (lambda m: kaiming_init(m, mode="fan_in", bias=2), math.sqrt(2 / 400)),
        (lambda m: caffe2_xavier_init(m, bias=2), math.sqrt(1 / 400)),
    ],
    ids=["normal", "uniform", "xavier", "xavier_uniform", "kaiming", "kaiming_in", "caffe2"],
)
def test_weights_have_the_spread_of_their_formula(fill, std) -> None:
    module = large()
    fill(module)
    assert float(module.weight.detach().std()) == pytest.approx(std, rel=0.02)
    assert module.bias.tolist() == [2] * 300


def test_a_truncated_normal_has_no_tails() -> None:
    module = large()
    trunc_normal_init(module, std=2, a=-1, b=0.5, bias=3)
    weight = module.weight.detach()
    assert float(weight.min()) >= -1
    assert float(weight.max()) <= 0.5
    assert module.bias.tolist() == [3] * 300
    tensor = torch.empty(5)
    assert trunc_normal_(tensor, std=0.1) is tensor


@pytest.mark.parametrize(
    "fill", [normal_init, uniform_init, xavier_init, kaiming_init, trunc_normal_init]
)
def test_modules_without_weight_or_bias_are_fine(fill) -> None:
    fill(nn.ReLU())
    fill(nn.Linear(2, 2, bias=False))
    constant_init(nn.BatchNorm1d(2, affine=False), 1)


def test_a_bias_can_stand_for_a_probability() -> None:
    assert torch.sigmoid(torch.tensor(bias_init_with_prob(0.01))) == pytest.approx(0.01)
    with pytest.raises(InitCfgError, match="between 0 and 1, got 1"):
        bias_init_with_prob(1.0)
    with pytest.raises(InitCfgError, match="'normal' or 'uniform', got 'triangular'"):
        xavier_init(large(), distribution="triangular")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.feat = nn.Conv1d(3, 2, 1)
        self.reg = nn.Conv1d(2, 2, 1)
        self.cls = nn.Sequential(nn.Linear(2, 2))


def constants(module: nn.Module) -> dict[str, float]:
    """Return the value of each parameter that is constant."""
    return {
        name: float(param.flatten()[0].detach())
        for name, param in module.named_parameters()
        if param.detach().unique().numel() == 1
    }


def test_layers_are_selected_by_class_name() -> None:
    net = Net()
    initialize(
        net,
        [
            {"type": "Constant", "layer": "Conv1d", "val": 1, "bias": 2},
            {"type": "Constant", "layer": ["Linear"], "val": 3, "bias": 4},
        ],
    )
    assert constants(net) == {
        "feat.weight": 1,
        "feat.bias": 2,
        "reg.weight": 1,
        "reg.bias": 2,
        "cls.0.weight": 3,
        "cls.0.bias": 4,
    }


def test_a_base_class_selects_its_subclasses() -> None:
    net = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm2d(2))
    initialize(net, {"type": "Constant", "layer": "_BatchNorm", "val": 5})
    assert [layer.weight[0].item() for layer in net] == [5, 5]


def test_an_override_names_a_submodule() -> None:
    net = Net()
    cfg = {
        "type": "Constant",
        "layer": "Conv1d",
        "val": 1,
        "bias": 2,
        "override": [
            {"type": "Constant", "name": "reg", "val": 3, "bias": 4},
            {"name": "cls"},  # without settings: the outer ones, whatever the class
        ],
    }
    initialize(net, cfg)
    values = constants(net)
    assert (values["feat.weight"], values["reg.weight"], values["reg.bias"]) == (1, 3, 4)
    assert (values["cls.0.weight"], values["cls.0.bias"]) == (1, 2)
    assert "override" in cfg


def test_the_truncated_normal_of_a_seed_is_that_of_the_reference_engine() -> None:
    """The sums are those of mmengine 0.10.7 with torch 2.13 on a CPU."""
    torch.manual_seed(0)
    drawn = trunc_normal_(torch.empty(100), 0.0, 1.0, -1.0, 1.0)
    assert drawn.double().sum().item() == pytest.approx(-2.2721386197954416, abs=1e-6)
    torch.manual_seed(0)
    drawn = trunc_normal_(torch.empty(100), 0.0, 0.02)
    assert drawn.double().sum().item() == pytest.approx(-0.10760869705700316, abs=1e-6)


@pytest.mark.parametrize(("std", "a", "b"), [(0.0, -1.0, 1.0), (-1.0, -1.0, 1.0), (1.0, 2.0, 1.0)])
def test_a_truncated_normal_that_cannot_be_is_refused(std, a, b) -> None:
    with pytest.raises(InitCfgError, match="std must be positive and a below b"):
        trunc_normal_(torch.empty(2), 0.0, std, a, b)


def test_a_layer_that_is_nowhere_is_a_warning_with_the_nearest() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())
    with pytest.warns(UserWarning, match=r"Sequential holds no Conv2D\. Did you mean 'Conv2d'"):
        initialize(net, {"type": "Constant", "val": 1, "layer": "Conv2D"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        initialize(net, {"type": "Constant", "val": 1, "layer": ["Conv2d", "Linear"]})


def test_without_a_layer_nothing_is_initialized() -> None:
    net = Net()
    before = net.feat.weight.clone()
    initialize(net, {"type": "Constant", "val": 1, "override": {"name": "reg"}})
    assert torch.equal(net.feat.weight, before)
    assert constants(net.reg) == {"weight": 1, "bias": 0}


def test_a_recipe_for_no_layer_warns_that_it_does_nothing(caplog_of) -> None:
    lines = caplog_of(lambda: initialize(Net(), {"type": "Constant", "val": 1}))
    assert len(lines) == 1
    assert lines[0].startswith(
        "init_cfg of Net: {'type': 'Constant', 'val': 1} initializes nothing"
    )
    assert caplog_of(lambda: initialize(Net(), {"type": "Fill"})) == []


@WEIGHT_INITIALIZERS.register_module(name="Fill")
class Fill:
    def __call__(self, module) -> None:
        for param in module.parameters():
            nn.init.constant_(param, 9)


@pytest.mark.parametrize(
    ("cfg", "error", "text"),
    [
        ("Constant", ModelTypeError, "must be a dict or a list of dicts, got 'Constant'"),
        ({"override": 1}, ModelTypeError, "override must be a dict or a list of dicts, got 1"),
        ({"override": {"val": 1}}, InitCfgError, "the key 'name' is missing"),
        ({"override": {"name": "reg", "val": 1}}, InitCfgError, "'reg': settings need a 'type'"),
        ({"override": {"name": "rge"}}, InitCfgError, "no submodule 'rge'. Did you mean 'reg'"),
        ({"bias": "x"}, ModelTypeError, "bias must be a number, got str"),
        ({"bias_prob": 1}, ModelTypeError, "bias_prob must be a float, got int"),
        ({"layer": 3}, ModelTypeError, "layer must be a class name or a list of them, got int"),
    ],
)
def test_a_recipe_that_does_not_fit_is_explained(cfg, error, text) -> None:
    if isinstance(cfg, dict):
        cfg = {"type": "Constant", "val": 1, **cfg}
    with pytest.raises(error, match=text):
        initialize(Net(), cfg)


class Head(BaseModule):
    def __init__(self, init_cfg=None) -> None:
        super().__init__(init_cfg)
        self.fc = nn.Linear(2, 2)


class Custom(BaseModule):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(2))

    def init_weights(self) -> None:
        self.scale.data.fill_(8.0)


def constant(layer: str, val: float) -> dict:
    return {"type": "Constant", "layer": layer, "val": val, "bias": val}


def test_each_level_adds_to_what_its_parent_did() -> None:
    class Model(BaseModule):
        def __init__(self) -> None:
            super().__init__(init_cfg=constant("Linear", 1))
            self.fc = nn.Linear(2, 2)
            self.head = Head(constant("Linear", 2))
            self.plain = nn.Sequential(Head(constant("Linear", 3)))
            self.ours = Sequential(Head(constant("Linear", 4)))
            self.wrapped = nn.DataParallel(Head(constant("Linear", 5)))
            self.custom = Custom()

    model = Model()
    model.init_weights()
    values = constants(model)
    assert values["fc.weight"] == 1
    assert values["head.fc.weight"] == 2
    assert values["plain.0.fc.weight"] == 1  # as in the reference engine: models count on it
    assert values["ours.0.fc.weight"] == 4
    assert values["wrapped.module.fc.weight"] == 5
    assert values["custom.scale"] == 8
    assert model.is_init
    assert model.head.is_init
    assert not hasattr(model, "_params_init_info")
    assert not hasattr(model.head.fc, "_params_init_info")


def test_a_list_of_nodes_becomes_a_container_that_asks_its_parts() -> None:
    node = {"type": Head, "init_cfg": constant("Linear", 3)}
    module = MODELS.build([node, node])
    assert type(module) is Sequential
    module.init_weights()
    assert constants(module)["1.fc.weight"] == 3


@pytest.mark.parametrize(
    "container",
    [
        lambda: Sequential(nn.Linear(2, 2), init_cfg=constant("Linear", 4)),
        lambda: ModuleList([nn.Linear(2, 2)], init_cfg=constant("Linear", 4)),
        lambda: ModuleDict({"0": nn.Linear(2, 2)}, init_cfg=constant("Linear", 4)),
    ],
    ids=["Sequential", "ModuleList", "ModuleDict"],
)
def test_containers_have_recipes_too(container) -> None:
    module = container()
    module.init_weights()
    assert constants(module) == {"0.weight": 4, "0.bias": 4}
    assert "init_cfg={'type': 'Constant'" in repr(module)


def test_a_second_call_changes_nothing_and_says_so(caplog_of) -> None:
    head = Head(constant("Linear", 1))
    head.init_weights()
    constant_init(head.fc, 5)
    lines = caplog_of(head.init_weights)
    assert constants(head)["fc.weight"] == 5
    assert any("Head.init_weights was called before" in line for line in lines)


def test_the_report_says_what_initialized_each_parameter(tmp_path) -> None:
    log_file = tmp_path / "run.log"
    MMLogger.get_instance("report", log_file=str(log_file))

    class Model(BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.head = Head(constant("Linear", 2))
            self.custom = Custom()
            self.untouched = nn.Linear(1, 1)

    Model().init_weights()
    text = log_file.read_text()
    assert "Name of parameter - Initialization information" in text
    assert "head.fc.weight - (2, 2): ConstantInit: bias=2, val=2" in text
    assert "custom.scale - (2,): init_weights of Custom" in text
    assert "untouched.weight - (1, 1): not changed by init_weights of Model" in text


def test_a_failed_initialization_leaves_no_notes_behind() -> None:
    head = Head({"type": "Constant", "val": 1, "override": {"name": "absent"}})
    with pytest.raises(InitCfgError):
        head.init_weights()
    assert not hasattr(head, "_params_init_info")
    assert not head.is_init


def test_a_parameter_that_appears_during_initialization_is_refused() -> None:
    class Growing(BaseModule):
        def init_weights(self) -> None:
            self.late = nn.Parameter(torch.zeros(1))

    with pytest.raises(ModelTypeError, match="new parameter 'late' of shape"):
        Sequential(Growing()).init_weights()
    with pytest.raises(ModelTypeError, match="is not inside init_weights"):
        update_init_info(nn.Linear(1, 1), "x")


def test_weights_are_loaded_last(tmp_path) -> None:
    checkpoint = tmp_path / "weights.pth"
    state = {"fc.weight": torch.full((2, 2), 7.0), "fc.bias": torch.full((2,), 7.0)}
    torch.save({"state_dict": state}, checkpoint)
    head = Head([{"type": "Pretrained", "checkpoint": str(checkpoint)}, constant("Linear", 1)])
    head.init_weights()
    assert constants(head) == {"fc.weight": 7, "fc.bias": 7}


def test_a_part_of_a_checkpoint_can_be_loaded(tmp_path) -> None:
    checkpoint = tmp_path / "weights.pth"
    state = {"neck.fc.weight": torch.full((2, 2), 7.0), "neck.fc.bias": torch.full((2,), 7.0)}
    torch.save(state, checkpoint)
    head = Head({"type": "Pretrained", "checkpoint": str(checkpoint), "prefix": "neck."})
    head.init_weights()
    assert constants(head) == {"fc.weight": 7, "fc.bias": 7}
