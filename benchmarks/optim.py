"""What an optimizer wrapper and a schedule cost.

CPU time, the best of several runs: other work on the machine does not count. The wrapper is given
an optimizer and a loss that do nothing, so that all of the time is its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from drivetrain.optim import (
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    OptimWrapper,
    PolyLR,
    ReduceOnPlateauLR,
    StepLR,
)

CALLS = 20_000
ROUNDS = 7


class Idle:
    """An optimizer that does nothing."""

    def step(self) -> None: ...

    def zero_grad(self) -> None: ...


def best_us(action: Callable[[], Any]) -> float:
    times = []
    for _ in range(ROUNDS):
        started_s = time.process_time()
        for _ in range(CALLS):
            action()
        times.append((time.process_time() - started_s) / CALLS)
    return min(times) * 1e6


def row(name: str, measured: float, limit: float) -> dict[str, Any]:
    return {
        "name": name,
        "measured": measured,
        "unit": "µs",
        "limit": limit,
        "ok": measured <= limit,
    }


def update_over_bare_calls() -> float:
    """An update in its context, over the calls that it makes."""
    idle = Idle()
    model = nn.Linear(1, 1)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    wrapper.optimizer = idle
    loss = torch.ones(())  # a real tensor, which is checked as one
    loss.backward = lambda: None

    def bare() -> None:
        loss.backward()
        idle.step()
        idle.zero_grad()

    def wrapped() -> None:
        with wrapper.optim_context(model):
            pass
        wrapper.update_params(loss)

    return best_us(wrapped) - best_us(bare)


def schedule_of_ten_groups(make: Callable[[torch.optim.Optimizer], Any], **metrics: Any) -> float:
    params = [nn.Parameter(torch.ones(1)) for _ in range(10)]
    schedule = make(torch.optim.SGD([{"params": [p]} for p in params], lr=0.1))
    return best_us(lambda: schedule.step(**metrics))


def schedules() -> dict[str, Callable[[torch.optim.Optimizer], Any]]:
    """One of each family, in the middle of its range all the time."""
    steps = CALLS * ROUNDS * 2
    return {
        "constant": lambda optimizer: ConstantLR(optimizer, end=steps),
        "cosine": lambda optimizer: CosineAnnealingLR(optimizer, T_max=steps),
        "cosine restart": lambda optimizer: CosineRestartLR(
            optimizer,
            periods=[100] * (steps // 100),
            restart_weights=[1.0] * (steps // 100),
            eta_min=0.0,
        ),
        "exponential": lambda optimizer: ExponentialLR(optimizer, gamma=1 - 1e-6),
        "linear": lambda optimizer: LinearLR(optimizer, end=steps),
        "milestones": lambda optimizer: MultiStepLR(optimizer, milestones=[10, 100, 1000]),
        "one cycle": lambda optimizer: OneCycleLR(optimizer, eta_max=0.1, total_steps=steps),
        "poly": lambda optimizer: PolyLR(optimizer, end=steps),
        "step": lambda optimizer: StepLR(optimizer, step_size=3, gamma=1 - 1e-6),
    }


def run() -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    rows = [row("update_params and optim_context over bare calls", update_over_bare_calls(), 4.0)]
    for name, make in schedules().items():
        rows.append(row(f"{name} step, 10 groups", schedule_of_ten_groups(make), 5.0))
    plateau = schedule_of_ten_groups(ReduceOnPlateauLR, metrics={"loss": 1.0})
    rows.append(row("plateau step, 10 groups", plateau, 5.0))
    return rows


if __name__ == "__main__":
    for line in run():
        print(f"{line['name']:50} {line['measured']:8.2f} {line['unit']} (limit {line['limit']})")
