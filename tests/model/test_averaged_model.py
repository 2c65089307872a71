from __future__ import annotations

import copy
import io
from itertools import pairwise

import pytest
import torch
from torch import nn

from drivetrain.model import (
    AveragingError,
    BaseAveragedModel,
    ExponentialMovingAverage,
    ModelArgumentError,
    MomentumAnnealingEMA,
    StochasticWeightAverage,
)
from drivetrain.registry import MODELS


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.Linear(4, 2))


def change(model: nn.Module) -> None:
    with torch.no_grad():
        for tensor in model.parameters():
            tensor += torch.randn_like(tensor)
        model[1].running_mean += 1.0
        model[1].num_batches_tracked += 1


def trajectory(average: BaseAveragedModel, model: nn.Module, steps: int) -> list[nn.Module]:
    """Change the model ``steps`` times; return what it was at each update."""
    seen = []
    for _ in range(steps):
        average.update_parameters(model)
        seen.append(copy.deepcopy(model))
        change(model)
    return seen


def weights(models: list[nn.Module]) -> list[torch.Tensor]:
    return [model[2].weight.detach() for model in models]


def test_the_first_update_copies() -> None:
    model = net()
    average = ExponentialMovingAverage(model, momentum=0.1)
    change(model)
    average.update_parameters(model)
    for name, value in model.state_dict().items():
        assert torch.equal(average.module.state_dict()[name], value)


def test_an_exponential_average_has_its_closed_form() -> None:
    model = net()
    average = ExponentialMovingAverage(model, momentum=0.1)
    first, *rest = weights(trajectory(average, model, 5))
    expected = first
    for weight in rest:
        expected = 0.9 * expected + 0.1 * weight
    torch.testing.assert_close(average.module[2].weight, expected)
    assert not average.module[2].weight.requires_grad


def test_an_annealed_average_follows_quickly_at_first() -> None:
    model = net()
    average = MomentumAnnealingEMA(model, momentum=0.3, gamma=2)
    first, *rest = weights(trajectory(average, model, 8))
    expected = first
    for step, weight in enumerate(rest, start=1):
        momentum = max(0.3, 2 / (2 + step))
        expected = (1 - momentum) * expected + momentum * weight
    torch.testing.assert_close(average.module[2].weight, expected)


def test_a_stochastic_average_is_the_mean() -> None:
    model = net()
    average = StochasticWeightAverage(model)
    seen = weights(trajectory(average, model, 6))
    torch.testing.assert_close(average.module[2].weight, torch.stack(seen).mean(0))


def test_with_an_interval_only_every_so_many_updates_count() -> None:
    model = net()
    average = StochasticWeightAverage(model, interval=3)
    seen = weights(trajectory(average, model, 7))
    torch.testing.assert_close(average.module[2].weight, torch.stack(seen[::3]).mean(0))
    assert int(average.steps) == 7


def test_buffers_are_copied_by_default() -> None:
    model = net()
    average = ExponentialMovingAverage(model, momentum=0.1)
    last = trajectory(average, model, 4)[-1]
    assert torch.equal(average.module[1].running_mean, last[1].running_mean)
    assert int(average.module[1].num_batches_tracked) == 3


def test_buffers_are_averaged_on_request_but_integers_are_copied() -> None:
    model = net()
    average = ExponentialMovingAverage(model, momentum=0.5, update_buffers=True)
    seen = [m[1].running_mean for m in trajectory(average, model, 3)]
    expected = 0.5 * (0.5 * seen[0] + 0.5 * seen[1]) + 0.5 * seen[2]
    torch.testing.assert_close(average.module[1].running_mean, expected)
    assert int(average.module[1].num_batches_tracked) == 2


def test_a_rule_of_ones_own_needs_only_one_method() -> None:
    class Largest(BaseAveragedModel):
        def avg_func(self, averaged_param, source_param, steps):
            torch.maximum(averaged_param, source_param, out=averaged_param)

    model = net()
    average = Largest(model)
    seen = weights(trajectory(average, model, 4))
    assert torch.equal(average.module[2].weight, torch.stack(seen).amax(0))


def test_an_average_goes_on_from_its_state() -> None:
    model = net()
    average = MomentumAnnealingEMA(model, momentum=0.01, gamma=5)
    trajectory(average, model, 3)
    file = io.BytesIO()
    torch.save(average.state_dict(), file)
    file.seek(0)
    resumed = MomentumAnnealingEMA(net(), momentum=0.01, gamma=5)
    resumed.load_state_dict(torch.load(file, weights_only=True))

    twin = copy.deepcopy(model)
    torch.manual_seed(1)
    trajectory(average, model, 3)
    torch.manual_seed(1)
    trajectory(resumed, twin, 3)
    for ours, theirs in zip(average.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_tensors_and_layers_that_are_replaced_are_followed() -> None:
    model = net()
    average = ExponentialMovingAverage(model, momentum=0.5)
    average.update_parameters(model)
    model[2].weight = nn.Parameter(torch.full((2, 4), 3.0))
    model[0] = nn.Conv1d(2, 3, 1)
    before = copy.deepcopy(average.module)
    average.update_parameters(model)
    for index in (0, 2):
        expected = (before[index].weight + model[index].weight) / 2
        torch.testing.assert_close(average.module[index].weight, expected)


def test_an_average_can_be_moved_and_copied() -> None:
    model = net()
    average = copy.deepcopy(ExponentialMovingAverage(model, momentum=0.5).double())
    average.update_parameters(model.double())
    change(model)
    average.update_parameters(model)
    assert average.module[2].weight.dtype == torch.float64
    assert not torch.equal(average.module[2].weight, model[2].weight)


def test_calls_go_to_the_averaged_model() -> None:
    model = net().eval()
    average = ExponentialMovingAverage(model)
    batch = torch.randn(1, 2, 4)
    assert torch.equal(average(batch), model(batch))


def test_tied_weights_are_averaged_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    average = ExponentialMovingAverage(model, momentum=0.5)
    average.update_parameters(model)
    before = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight += 1
    average.update_parameters(model)
    torch.testing.assert_close(average.module[0].weight, before + 0.5)
    assert average.module[1].weight is average.module[0].weight


def test_they_are_found_by_name() -> None:
    average = MODELS.build({"type": "ExponentialMovingAverage", "model": net(), "momentum": 0.5})
    assert average.momentum == 0.5


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ExponentialMovingAverage(net(), momentum=1.5), "momentum must be between 0 and 1"),
        (lambda: MomentumAnnealingEMA(net(), gamma=0), "gamma must be greater than 0, got 0"),
        (lambda: StochasticWeightAverage(net(), interval=0), "interval must be at least 1, got 0"),
    ],
)
def test_numbers_that_cannot_be_are_refused(make, text) -> None:
    with pytest.raises(ModelArgumentError, match=text):
        make()


def test_another_model_is_refused_and_changes_nothing() -> None:
    average = ExponentialMovingAverage(net(), momentum=0.5)
    average.update_parameters(net())
    before = copy.deepcopy(average.state_dict())
    other = net()
    other[2] = nn.Linear(4, 2, bias=False)
    with pytest.raises(AveragingError, match=r"it has no '2\.bias'"):
        average.update_parameters(other)
    wide = net()
    wide[2] = nn.Linear(5, 2)
    with pytest.raises(AveragingError, match=r"'2.weight' has shape \(2, 5\) for \(2, 4\)"):
        average.update_parameters(wide)
    assert all(torch.equal(value, before[name]) for name, value in average.state_dict().items())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_average_may_live_on_the_cpu() -> None:
    model = net().cuda()
    average = ExponentialMovingAverage(model, momentum=0.1, device="cpu")
    seen = [weight.cpu() for weight in weights(trajectory(average, model, 3))]
    assert average.module[2].weight.device.type == "cpu"
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.9 * expected + 0.1 * weight
    torch.testing.assert_close(average.module[2].weight, expected)
    assert all(a is not b for a, b in pairwise(seen))
