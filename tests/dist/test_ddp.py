"""The data-parallel wrapper takes steps, and its gradients are those of the whole batch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from drivetrain import dist
from drivetrain.dist._ddp import run_forward
from drivetrain.registry import MODEL_WRAPPERS


def _tiny() -> Any:
    import tiny_training

    return tiny_training


def _model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return _tiny().TinyModel()


def _wrapper(model: nn.Module, **options: Any) -> Any:
    return _tiny().TinyOptimWrapper(torch.optim.AdamW(model.parameters(), lr=0.01), **options)


def _flat(model: nn.Module) -> list[float]:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


def _train_ddp(steps: int, options: dict[str, Any]) -> list[float]:
    model = dist.MMDistributedDataParallel(_model(dist.get_rank()))  # rank 0's weights win
    optim = _wrapper(model, **options)
    for step in range(steps):
        log_vars = model.train_step(_tiny().batch(step, dist.get_rank(), 2), optim)
        assert log_vars["loss"].requires_grad is False
    return _flat(model)


@pytest.mark.parametrize("options", [{}, {"accumulative_counts": 2}, {"clip_norm": 0.1}], ids=str)
def test_training_equals_one_process_on_the_whole_batch(ranks: Any, options: Any) -> None:
    """Within 1e-6: the gradients are the same sums in another order."""
    first, second = ranks(_train_ddp, 4, options)
    assert first == second

    model = _model()
    optim = _wrapper(model, **options)
    for step in range(4):
        model.train_step(_tiny().batch(step), optim)
    torch.testing.assert_close(torch.tensor(first), torch.tensor(_flat(model)), rtol=0, atol=1e-6)


def test_training_equals_bit_for_bit_the_sum_of_halves_in_rank_order(ranks: Any) -> None:
    """What DDP computes: each rank's gradient over 2, added up in the order of ranks."""
    first, _ = ranks(_train_ddp, 3, {})

    model = _model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(3):
        parts = []
        for rank in range(2):
            copied = copy.deepcopy(model)
            copied(**_tiny().batch(step, rank, 2), mode="loss")["loss"].backward()
            parts.append([p.grad / 2 for p in copied.parameters()])
        for param, half, other in zip(model.parameters(), *parts, strict=True):
            param.grad = half + other
        optimizer.step()
        optimizer.zero_grad()
    assert first == _flat(model)


def _steps_without_exchange() -> tuple[bool, bool, bool]:
    model = dist.MMDistributedDataParallel(_model())
    data = _tiny().batch(0, dist.get_rank(), 2)
    val, test = model.val_step(data), model.test_step(data)
    as_list = run_forward(model, [data["inputs"], data["target"]], mode="tensor")
    try:
        run_forward(model, "text", mode="loss")
    except TypeError as err:
        refused = "got str" in str(err)
    return torch.equal(val, test), torch.equal(as_list, val), refused


def test_val_and_test_step_ask_the_model_inside(ranks: Any) -> None:
    assert ranks(_steps_without_exchange) == [(True, True, True)] * 2


class _WithSpare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(2, 1)
        self.unused = nn.Linear(2, 1)
        self.frozen = nn.Linear(2, 1).requires_grad_(False)

    def forward(self, inputs: torch.Tensor, mode: str = "tensor") -> dict[str, torch.Tensor]:
        return {"loss": self.used(inputs).sum()}

    def data_preprocessor(self, data: Any, training: bool = False) -> Any:
        return data

    def parse_losses(self, losses: Any) -> Any:
        return losses["loss"], losses


def test_parameters_outside_the_loss_are_found_and_logged(caplog: Any, capsys: Any) -> None:
    model = _WithSpare()
    loss = model(torch.ones(1, 2))["loss"]
    assert dist.detect_anomalous_params(loss, model) == ["unused.weight", "unused.bias"]


def _unused(options: dict[str, Any]) -> str:
    model = dist.MMDistributedDataParallel(_WithSpare(), **options)
    optim = _wrapper(model)
    try:
        for _ in range(2):
            model.train_step({"inputs": torch.ones(1, 2)}, optim)
    except dist.UnusedParametersError as err:
        return str(err)
    return "trained"


def test_unused_parameters_are_an_error_unless_looked_for(ranks: Any) -> None:
    for text in ranks(_unused, {}):
        assert "_WithSpare: unused.weight, unused.bias took no part in the loss" in text
        assert "find_unused_parameters=True" in text
    assert ranks(_unused, {"find_unused_parameters": True}) == ["trained", "trained"]
    options = {"find_unused_parameters": True, "detect_anomalous_params": True}
    assert ranks(_unused, options) == ["trained", "trained"]


def _is_wrapper() -> list[bool]:
    model = _model()
    wrapped = dist.MMDistributedDataParallel(model)
    plain = nn.parallel.DistributedDataParallel(_model())
    return [dist.is_model_wrapper(m) for m in (model, wrapped, plain)]


def test_wrappers_are_told_from_models(ranks: Any) -> None:
    assert ranks(_is_wrapper) == [[False, True, True]] * 2
    assert dist.is_model_wrapper(nn.DataParallel(nn.Linear(1, 1)))


def test_the_wrappers_of_this_package_are_found_by_name() -> None:
    assert MODEL_WRAPPERS.get("MMDistributedDataParallel") is dist.MMDistributedDataParallel
    assert MODEL_WRAPPERS.get("DistributedDataParallel") is nn.parallel.DistributedDataParallel


def _train_hooked(comm_hook: Any) -> tuple[list[float], int]:
    model = dist.MMDistributedDataParallel(_model(), comm_hook=comm_hook)
    optim = _wrapper(model)
    for step in range(4):
        model.train_step(_tiny().batch(step, dist.get_rank(), 2), optim)
    return _flat(model), len(_flat(model))


@pytest.mark.parametrize(
    "comm_hook",
    [
        "fp16",
        "bf16",
        {"type": "bf16"},
        {"type": "powersgd", "min_compression_rate": 0.5, "start_powerSGD_iter": 2},
    ],
    ids=str,
)
def test_gradients_may_travel_shortened(ranks: Any, comm_hook: Any) -> None:
    """Ranks stay equal; the weights are near those of whole gradients, and not the same."""
    whole, _ = ranks(_train_ddp, 4, {})
    (first, _), (second, _) = ranks(_train_hooked, comm_hook)
    assert first == second
    assert first != whole
    torch.testing.assert_close(torch.tensor(first), torch.tensor(whole), rtol=0, atol=0.05)


def _bad_hook() -> str:
    try:
        dist.MMDistributedDataParallel(_model(), comm_hook="int4")
    except dist.WrapperError as err:
        return str(err)
    return ""


def test_an_unknown_way_to_travel_is_refused(ranks: Any) -> None:
    assert all("'fp16', 'bf16' or 'powersgd'" in text for text in ranks(_bad_hook))


def _uneven() -> tuple[list[float], int]:
    model = dist.MMDistributedDataParallel(_model())
    optim = _wrapper(model)
    steps = 3 + 2 * dist.get_rank()
    with model.join():
        for step in range(steps):
            model.train_step(_tiny().batch(step, dist.get_rank(), 2), optim)
    return _flat(model), steps


def test_ranks_with_different_numbers_of_batches_can_be_joined(ranks: Any) -> None:
    (first, three), (second, five) = ranks(_uneven)
    assert (three, five) == (3, 5)
    assert first == second


def _buffers(options: dict[str, Any]) -> list[float]:
    model = nn.BatchNorm1d(2)
    model.running_mean.fill_(dist.get_rank() + 1)
    wrapped = dist.MMDistributedDataParallel(model, **options)
    wrapped(torch.full((4, 2), 10.0 * dist.get_rank()))
    wrapped.eval()
    wrapped(torch.ones(4, 2))
    return model.running_mean.tolist()


def test_buffers_follow_rank_0_when_broadcast_and_are_own_otherwise(
    ranks: Any, recwarn: pytest.WarningsRecorder
) -> None:
    first, second = ranks(_buffers, {"broadcast_buffers": True})
    assert first == second
    first, second = ranks(_buffers, {"broadcast_buffers": False})
    assert first != second
