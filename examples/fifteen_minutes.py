"""The engine in fifteen minutes: a model, a metric, two loaders, a runner.

Everything is an object here; nothing comes from a config file. Run it with

    python examples/fifteen_minutes.py
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel
from drivetrain.runner import Runner


# 1. A model. It is called with what the loader yields and a mode: "loss" while training,
#    "predict" while validating.
class Perceptron(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))

    def forward(self, images: torch.Tensor, labels: torch.Tensor, mode: str = "tensor"):
        logits = self.layers(images)
        if mode == "loss":
            return {"loss": F.cross_entropy(logits, labels)}
        if mode == "predict":
            return logits, labels
        return logits


# 2. A metric. `process` sees every batch and keeps what it needs; `compute_metrics` gets what all
#    batches, of all processes, have kept.
class Accuracy(BaseMetric):
    def process(self, data_batch, data_samples) -> None:
        logits, labels = data_samples
        self.results.append(
            {"correct": (logits.argmax(dim=1) == labels).sum().item(), "total": len(labels)}
        )

    def compute_metrics(self, results: list) -> dict[str, float]:
        correct = sum(batch["correct"] for batch in results)
        return {"accuracy": 100.0 * correct / sum(batch["total"] for batch in results)}


# 3. Data: ordinary loaders of PyTorch.
def make_loaders() -> tuple[DataLoader, DataLoader]:
    digits = load_digits()
    images = torch.tensor(digits.data, dtype=torch.float32) / 16.0
    dataset = TensorDataset(images, torch.tensor(digits.target))
    train, val = random_split(dataset, [0.8, 0.2], generator=torch.Generator().manual_seed(0))
    return DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=128)


# 4. A runner puts them together.
def main(work_dir: str, max_epochs: int) -> dict[str, float]:
    train_dataloader, val_dataloader = make_loaders()
    runner = Runner(
        model=Perceptron(),
        work_dir=work_dir,
        train_dataloader=train_dataloader,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs, val_interval=1),
        val_dataloader=val_dataloader,
        val_cfg=dict(),
        val_evaluator=dict(type=Accuracy),
        randomness=dict(seed=0),
    )
    runner.train()
    return runner.val()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work-dir", default="work_dirs/fifteen_minutes")
    parser.add_argument("--max-epochs", type=int, default=5)
    arguments = parser.parse_args()
    print(main(arguments.work_dir, arguments.max_epochs))
