"""Log lines of several ranks: means of all, whatever each of them has logged."""

from __future__ import annotations

import json
from pathlib import Path

MODULE = """
import json, os
import torch
from torch import nn
from drivetrain.model import BaseModel
from drivetrain.registry import DATASETS, HOOKS, MODELS
from drivetrain.runner.hooks import Hook

RANK = int(os.environ["RANK"])

@DATASETS.register_module()
class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return {"x": torch.ones(1)}

@MODELS.register_module()
class Counting(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight, self.steps = nn.Parameter(torch.zeros(1)), 0

    def forward(self, x, mode="tensor"):
        self.steps += 1
        zero = (self.weight * x).sum() * 0
        figures = {"loss": zero + 10 * (RANK + 1) + self.steps}
        if RANK == 1 and self.steps == 3:
            figures["rare"] = zero + 7
        return figures

@HOOKS.register_module()
class KeepRecords(Hook):
    priority = "LOWEST"

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        with open(f"{runner.work_dir}/records_{RANK}", "a") as file:
            print(json.dumps(runner.log_processor.latest, sort_keys=True), file=file)
"""

CONFIG = """
import sys
sys.path.insert(0, {folder!r})
custom_imports = dict(imports=["counting"])
model = dict(type="Counting")
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(type="Numbers"),
    sampler=dict(type="DefaultSampler", shuffle=False), collate_fn=dict(type="default_collate"))
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.3))
log_processor = dict(window_size=1)
default_hooks = dict(logger=dict(type="LoggerHook", interval=1), checkpoint=None)
custom_hooks = [dict(type="KeepRecords")]
"""


def test_lines_show_the_mean_of_all_ranks_also_of_what_only_one_of_them_logs(
    start, tmp_path: Path
) -> None:
    (tmp_path / "counting.py").write_text(MODULE)
    (tmp_path / "cfg.py").write_text(CONFIG.format(folder=str(tmp_path)))
    work = tmp_path / "work"
    run = start("train", str(tmp_path / "cfg.py"), "--launch", "2", "--work-dir", str(work))
    assert run.finish() == 0, run.text

    texts = [(work / f"records_{rank}").read_text() for rank in (0, 1)]
    assert texts[0] == texts[1]
    records = [json.loads(line) for line in texts[0].splitlines()]
    assert [record["loss"] for record in records] == [16.0, 17.0, 18.0]  # 10 + n and 20 + n
    assert [record["lr"] for record in records] == [0.3] * 3
    assert [record.get("rare") for record in records] == [None, None, 7.0]
    assert "loss: 18.0000  rare: 7.0000" in run.text
