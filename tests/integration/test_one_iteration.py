"""The page that walks through one iteration tells what happens."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from drivetrain.model import BaseModel
from drivetrain.runner import Runner

PAGE = Path(__file__).resolve().parents[2] / "docs" / "one-iteration.md"


class Line(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x, y, mode="tensor"):
        return {"loss": nn.functional.mse_loss(self.layer(x), y)}


def test_the_page_names_the_functions_between_train_and_the_optimizer(tmp_path) -> None:
    x = torch.ones(4, 1)
    runner = Runner(
        Line(),
        str(tmp_path),
        train_dataloader=DataLoader(TensorDataset(x, x), batch_size=2),
        train_cfg={"by_epoch": True, "max_epochs": 1},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
    )
    walk: list[tuple[str, str]] = []

    def look(frame, event, arg) -> None:
        code = frame.f_code
        if walk or event != "call" or code is not torch.optim.SGD.step.__wrapped__.__code__:
            return
        while (frame := frame.f_back) is not None:
            path = Path(frame.f_code.co_filename)
            if "drivetrain" in path.parts and "torch" not in path.parts:
                walk.append((frame.f_code.co_name, f"{path.parent.name}/{path.name}"))

    sys.setprofile(look)
    try:
        runner.train()
    finally:
        sys.setprofile(None)
    rows = re.findall(r"^\| \d \| `\w+\.(\w+)` \| `([\w/.]+)`", PAGE.read_text(), re.MULTILINE)
    assert rows
    assert walk[::-1] == rows
    assert len(rows) < 10
