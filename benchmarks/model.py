"""What a training step of a model adds, and what averaging its weights costs.

CPU time, the best of several rounds in turn: other work on the machine does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from drivetrain.model import BaseModel, ExponentialMovingAverage
from drivetrain.optim import OptimWrapper

ROUNDS = 15


def best_us(actions: dict[str, Callable[[], Any]], calls: int) -> dict[str, float]:
    """The best time of each action, measured in turn."""
    best = dict.fromkeys(actions, float("inf"))
    for _ in range(ROUNDS):
        for name, action in actions.items():
            started_s = time.process_time()
            for _ in range(calls):
                action()
            best[name] = min(best[name], (time.process_time() - started_s) / calls * 1e6)
    return best


class Tiny(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 2)

    def forward(self, x, y, mode="tensor"):
        out = self.layer(x)
        return {"loss": nn.functional.mse_loss(out, y)} if mode == "loss" else out


def training_step() -> dict[str, float]:
    model = Tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    wrapper = OptimWrapper(optimizer)
    x, y = torch.randn(4, 8), torch.randn(4, 2)

    def by_hand() -> torch.Tensor:
        loss = model(x, y, mode="loss")["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return best_us({"ours": lambda: model.train_step((x, y), wrapper), "by hand": by_hand}, 400)


def averaging() -> dict[str, float]:
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(150)))  # 300 tensors
    ours = ExponentialMovingAverage(model, momentum=0.01)
    torchs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    average = [param.detach().clone() for param in model.parameters()]
    current = [param.detach() for param in model.parameters()]
    actions = {
        "fused": lambda: torch._foreach_lerp_(average, current, 0.01),
        "ours": lambda: ours.update_parameters(model),
        "torch": lambda: torchs.update_parameters(model),
    }
    return best_us(actions, 20)


def run() -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    step, average = training_step(), averaging()
    over = step["ours"] - step["by hand"]
    ratio = average["ours"] / average["fused"]
    return [
        {"name": "train_step over a step by hand", "measured": over, "unit": "µs", "limit": 15.0}
        | {"ok": over <= 15.0},
        {"name": "EMA of 300 tensors over one fused call", "measured": ratio, "unit": "x"}
        | {"limit": 1.3, "ok": ratio <= 1.3},
        {"name": "EMA of 300 tensors", "measured": average["ours"], "unit": "µs"}
        | {"limit": None, "ok": True},
        {"name": "the same, torch's AveragedModel", "measured": average["torch"], "unit": "µs"}
        | {"limit": None, "ok": True},
    ]


if __name__ == "__main__":
    for line in run():
        print(f"{line['name']:50} {line['measured']:8.2f} {line['unit']} (limit {line['limit']})")
