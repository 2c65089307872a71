"""Expected numbers are worked out by hand, in the comments; a multiply-add is one operation."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from drivetrain.model import BaseModel
from drivetrain.model.analysis import (
    ActivationAnalyzer,
    AnalysisError,
    FlopAnalyzer,
    _format_size,
    activation_count,
    flop_count,
    get_model_complexity_info,
    parameter_count,
    parameter_count_table,
)


class Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.forward = function


CASES = [
    # 10 x 8 x 8 outputs, each 3 x 3 x 3
    ("conv", nn.Conv2d(3, 10, 3), [(1, 3, 10, 10)], 10 * 8 * 8 * 27, 640),
    ("grouped conv", nn.Conv2d(4, 4, 3, groups=4), [(2, 4, 5, 5)], 2 * 4 * 9 * 9, 72),
    ("strided conv", nn.Conv1d(2, 6, 2, stride=2), [(1, 2, 8)], 6 * 4 * 4, 24),
    # 3 x 8 x 8 inputs, each spread over 5 x 2 x 2
    ("transposed conv", nn.ConvTranspose2d(3, 5, 2, stride=2), [(1, 3, 8, 8)], 3840, 5 * 256),
    ("linear", nn.Linear(7, 5), [(3, 7)], 3 * 7 * 5, 15),
    ("linear without bias on a sequence", nn.Linear(7, 5, bias=False), [(2, 3, 7)], 210, 30),
    ("matmul", Function(torch.matmul), [(2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5, 30),
    ("matrix times vector", Function(torch.matmul), [(3, 4), (4,)], 12, 3),
    # scores 2 x 4 x 6 of 8 products; outputs 2 x 4 x 8 of 6 products
    (
        "attention",
        Function(nn.functional.scaled_dot_product_attention),
        [(1, 2, 4, 8), (1, 2, 6, 8), (1, 2, 6, 8)],
        2 * 4 * 6 * 8 * 2,
        64,
    ),
    ("batch norm, training", nn.BatchNorm2d(3), [(2, 3, 4, 4)], 96 * 5, 0),
    ("batch norm, evaluating", nn.BatchNorm2d(3).eval(), [(2, 3, 4, 4)], 96 * 2, 0),
    ("layer norm", nn.LayerNorm(6), [(2, 6)], 12 * 5, 0),
    ("group norm without weights", nn.GroupNorm(2, 4, affine=False), [(1, 4, 3)], 12 * 4, 0),
    ("adaptive pooling", nn.AdaptiveAvgPool2d(2), [(1, 3, 4, 4)], 48, 0),
    ("bilinear", nn.Upsample(scale_factor=2, mode="bilinear"), [(1, 1, 2, 2)], 16 * 4, 0),
    ("elementwise", nn.Tanh(), [(4,)], 0, 0),
]


@pytest.mark.parametrize(
    ("module", "shapes", "flops", "activations"),
    [pytest.param(*case[1:], id=case[0]) for case in CASES],
)
def test_an_operation_costs_what_its_formula_says(module, shapes, flops, activations) -> None:
    inputs = tuple(torch.randn(shape) for shape in shapes)
    assert FlopAnalyzer(module, inputs).total() == flops
    assert ActivationAnalyzer(module, inputs).total() == activations


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(10, 10)
        self.fc2 = nn.Linear(10, 10)

    def forward(self, x):
        return self.fc1(self.fc2(x))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(10, 10)
        self.fc2 = nn.Linear(10, 10)
        self.inner = Inner()

    def forward(self, x):
        return self.fc1(self.fc2(self.inner(x)))


TABLE = """\
+---------------------+----------------------+--------+--------------+
| module              | #parameters or shape | #flops | #activations |
+---------------------+----------------------+--------+--------------+
| model               | 0.44K                | 0.4K   | 40           |
|  fc1                |  0.11K               |  100   |  10          |
|   fc1.weight        |   (10, 10)           |        |              |
|   fc1.bias          |   (10,)              |        |              |
|  fc2                |  0.11K               |  100   |  10          |
|   fc2.weight        |   (10, 10)           |        |              |
|   fc2.bias          |   (10,)              |        |              |
|  inner              |  0.22K               |  0.2K  |  20          |
|   inner.fc1         |   0.11K              |   100  |   10         |
|    inner.fc1.weight |    (10, 10)          |        |              |
|    inner.fc1.bias   |    (10,)             |        |              |
|   inner.fc2         |   0.11K              |   100  |   10         |
|    inner.fc2.weight |    (10, 10)          |        |              |
|    inner.fc2.bias   |    (10,)             |        |              |
+---------------------+----------------------+--------+--------------+"""

ARCH = """\
Net(
  #params: 0.44K, #flops: 0.4K, #acts: 40
  (fc1): Linear(
    in_features=10, out_features=10, bias=True
    #params: 0.11K, #flops: 100, #acts: 10
  )"""


def test_one_call_tells_everything() -> None:
    info = get_model_complexity_info(Net(), (1, 10))
    assert (info["flops"], info["activations"], info["params"]) == (400, 40, 440)
    assert (info["flops_str"], info["activations_str"], info["params_str"]) == (
        "0.4K",
        "40",
        "0.44K",
    )
    assert info["out_table"] == TABLE
    assert info["out_arch"].startswith(ARCH)


def test_texts_can_be_left_out() -> None:
    info = get_model_complexity_info(
        Net(), inputs=torch.ones(5, 10), show_table=False, show_arch=False
    )
    assert info["flops"] == 2000
    assert info["out_table"] == info["out_arch"] == ""


def test_a_model_of_the_engine_is_analyzed_in_its_tensor_mode() -> None:
    class Wrapped(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, inputs, data_samples=None, mode="tensor"):
            assert mode == "tensor"
            return self.net(inputs)

    info = get_model_complexity_info(Wrapped(), (10,))
    assert info["flops"] == 400
    assert info["out_table"].splitlines()[3].startswith("| net ")
    assert "|  fc1 " in info["out_table"]


def test_several_inputs_and_keyword_inputs_work() -> None:
    module = Function(torch.matmul)
    assert get_model_complexity_info(module, ((3, 4), (4, 5)))["flops"] == 60
    inputs = {"input": torch.ones(3, 4), "other": torch.ones(4, 5)}
    assert get_model_complexity_info(module, inputs=inputs)["flops"] == 60


def test_counts_are_kept_by_module_and_by_operation() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 10, 3), nn.ReLU(), nn.Flatten(), nn.Linear(640, 2), nn.Softmax(1)
    )
    analyzer = FlopAnalyzer(net, torch.ones(1, 3, 10, 10))
    assert analyzer.by_operator() == {"conv": 17280, "linear": 1280}
    assert analyzer.by_module()["0"] == 17280
    assert analyzer.by_module_and_operator()["3"] == {"linear": 1280}
    assert analyzer.unsupported_ops() == {"_softmax": 1}


def test_a_formula_of_ones_own_counts_what_is_not_counted() -> None:
    analyzer = FlopAnalyzer(nn.Softmax(0), torch.ones(6))
    analyzer.set_op_handle("aten::_softmax", lambda args, kwargs, out: 5 * out.numel())
    assert analyzer.by_operator() == {"softmax": 30}
    counts, unsupported = flop_count(
        nn.Linear(10, 10), torch.ones(1, 10), {"addmm": lambda *_: 7e9}
    )
    assert counts == {"linear": 7.0}
    assert unsupported == {}


def test_modules_that_do_not_run_are_named() -> None:
    net = Net()
    net.unused = nn.Linear(1, 1)
    assert FlopAnalyzer(net, torch.ones(1, 10)).uncalled_modules() == {"unused"}


def test_the_model_stays_as_it_was() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    get_model_complexity_info(net, inputs=torch.randn(4, 3))
    torch.set_rng_state(random)
    get_model_complexity_info(net, inputs=torch.ones(4, 3))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not net[0]._forward_hooks
    assert net.training


def test_units_are_those_of_the_plain_functions() -> None:
    conv, image = nn.Conv2d(3, 10, 3), torch.ones(1, 3, 10, 10)
    assert flop_count(conv, image)[0] == {"conv": 17280 / 1e9}
    assert activation_count(conv, image)[0] == {"conv": 640 / 1e6}


def test_parameters_are_counted_for_each_module_and_once() -> None:
    net = Net()
    net.fc2.weight = net.fc1.weight
    counts = parameter_count(net)
    assert (counts[""], counts["fc1"], counts["fc2"], counts["inner.fc1.bias"]) == (
        340,
        110,
        110,
        10,
    )
    assert "|   inner.fc1.bias" not in parameter_count_table(net, max_depth=2)
    assert "|   inner.fc1 " in parameter_count_table(net, max_depth=2)
    assert "(10, 10)" in parameter_count_table(net)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (100, "100"),
        (101, "0.101K"),
        (9408, "9.408K"),
        (118_013_952, "0.118G"),
        (25_557_032, "25.557M"),
        (4_145_000_000, "4.145G"),
        (2e15, "2P"),
    ],
)
def test_sizes_are_readable(count, text) -> None:
    assert _format_size(count) == text


def test_zero_can_be_hidden() -> None:
    assert _format_size(0, hide_zero=True) == ""


def test_what_cannot_be_analyzed_is_explained() -> None:
    with pytest.raises(AnalysisError, match="give input_shape or inputs"):
        get_model_complexity_info(Net())
    with pytest.raises(AnalysisError, match="not both"):
        get_model_complexity_info(Net(), (10,), inputs=torch.ones(1, 10))
    with pytest.raises(AnalysisError, match=r"Net failed on \(a tensor of shape \(1, 3\)\)"):
        get_model_complexity_info(Net(), (3,))
    with pytest.raises(AnalysisError, match=r"no module 'inner.fc3'. Did you mean 'inner.fc"):
        FlopAnalyzer(Net(), torch.ones(1, 10)).total("inner.fc3")


@pytest.mark.parametrize("training", [True, False])
def test_attention_costs_the_same_in_both_modes(training) -> None:
    """By hand: 5 tokens of 8 channels, 4 projections, 2 heads, a hidden layer of 16."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).train(training)
    flops = FlopAnalyzer(layer, torch.randn(1, 5, 8))
    projections, attention, hidden, norms = (
        4 * 5 * 8 * 8,
        2 * 5 * 5 * 8,
        2 * 5 * 8 * 16,
        2 * 5 * 8 * 5,
    )
    assert flops.total() == projections + attention + hidden + norms
    assert flops.total("self_attn") == projections + attention
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(AnalysisError, match="negative length"):
        get_model_complexity_info(nn.Linear(1, 1), (-1,))
