"""Trains in processes of its own, so that a run can really be killed.

Started once, it imports what a training needs; then for each line on stdin, a job as JSON, it
forks one process a rank and answers with their exit codes. A fork takes milliseconds where a new
interpreter takes seconds, and starts as empty.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo  # with the next, what a training imports late: here it is paid for once
from torch import nn
from torch.utils.data import Dataset

from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel
from drivetrain.optim import OptimWrapper, OptimWrapperDict
from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS
from drivetrain.runner import Runner
from drivetrain.runner.hooks import Hook


class Shaken(Dataset):
    """Points that all three random generators shake; each knows its number."""

    def __init__(self, length: int) -> None:
        self.points = torch.randn(length, 4, generator=torch.Generator().manual_seed(7))

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> dict[str, Any]:
        shake = 0.1 * torch.randn(4) + 0.1 * random.random() + 0.1 * float(np.random.rand())
        x = self.points[index]
        return {"x": x + shake, "y": (x.sum() > 0).long(), "index": index}


class Net(BaseModel):
    """Dropout draws random numbers, batch norm keeps buffers."""

    def __init__(self, batch_norm: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        norm = nn.BatchNorm1d(8) if batch_norm else nn.LayerNorm(8)
        self.body = nn.Sequential(nn.Linear(4, 8), norm, nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Any, y: Any, index: Any, mode: str = "tensor") -> Any:
        logits = self.head(self.body(x))
        if mode == "loss":
            return {"loss": nn.functional.cross_entropy(logits, y)}
        return list(zip(logits.float().softmax(1)[:, 1], y, strict=True))


@OPTIM_WRAPPER_CONSTRUCTORS.register_module("Halves")
class Halves:
    """One optimizer for each half."""

    def __init__(self, optim_wrapper_cfg: Any, paramwise_cfg: Any = None) -> None:
        pass

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        model = getattr(model, "module", model)
        body = torch.optim.SGD(model.body.parameters(), lr=0.05, momentum=0.9)
        head = torch.optim.AdamW(model.head.parameters(), lr=0.02)
        return OptimWrapperDict(body=OptimWrapper(body), head=OptimWrapper(head))


class TwoOptimizers(Net):
    """Updates its halves one after the other."""

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Any]:
        loss = self(**data, mode="loss")["loss"]
        for member in optim_wrapper.values():
            member.zero_grad()
        loss.backward()
        for member in optim_wrapper.values():
            member.step()
        return {"loss": loss.detach()}


class Score(BaseMetric):
    """How far the guesses are off; a number with many digits."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results += [abs(float(p) - int(y)) for p, y in data_samples]

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {"gap": sum(results) / len(results)}


class KillInStep(Hook):
    """End this process in the middle of a step, as no handler can notice."""

    priority = "VERY_HIGH"

    def __init__(self, step: int) -> None:
        self.step = step

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class NoteSamples(Hook):
    """Write down which samples each rank trained on."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        line = [runner.progress.epoch, runner.iter, runner.rank, data_batch["index"].tolist()]
        with open(f"{self.folder}/samples.txt", "a") as file:  # short lines are appended whole
            file.write(json.dumps(line) + "\n")


def run(job: dict[str, Any], rank: int) -> None:
    """Train as one rank of a job."""
    ranks, options = job["ranks"], job.get("options", {})
    env_cfg: dict[str, Any] = {}
    if ranks > 1:
        names = ("RANK", "LOCAL_RANK")
        os.environ.update(dict.fromkeys(names, str(rank)), WORLD_SIZE=str(ranks))
        os.environ.update(MASTER_ADDR="localhost", MASTER_PORT="0", GLOO_SOCKET_IFNAME="lo")
        meeting = {"init_method": f"file://{job['store']}", "rank": rank, "world_size": ranks}
        env_cfg = {"dist_cfg": {"backend": "gloo", "timeout": 60, **meeting}}
    torch.manual_seed(os.getpid())  # what happened before a run must not matter
    hooks: list[Any] = list(options.get("custom_hooks", []))
    if job.get("kill_at") is not None:
        hooks.append(KillInStep(job["kill_at"]))
    if job.get("note_samples"):
        hooks.append(NoteSamples(job["note_samples"]))
    wrapper = {"optimizer": {"type": "Adam", "lr": 0.02}, **options.get("optim_wrapper", {})}
    two = options.get("model") == "two"
    workers = options.get("num_workers", 0)
    loader = {
        "dataset": Shaken(options.get("length", 24)),
        "batch_size": options["batch_size"],
        "num_workers": workers,
        # To fork while threads of the last epoch's workers end deadlocks Python 3.11 now and then.
        "persistent_workers": workers > 0,
        "timeout": 60 if workers else 0,
        "collate_fn": {"type": "default_collate"},
        "sampler": {"type": options.get("sampler", "DefaultSampler"), "shuffle": True},
    }
    val_loader = {**loader, "num_workers": 0, "persistent_workers": False, "timeout": 0}
    val_loader["sampler"] = {"type": "DefaultSampler", "shuffle": False}
    Runner(
        TwoOptimizers() if two else Net(options.get("batch_norm", True)),
        job["work_dir"],
        train_dataloader=loader,
        train_cfg=options["train_cfg"],
        optim_wrapper=options.get("optim_wrappers") or wrapper,
        param_scheduler=options.get(
            "param_scheduler",
            [
                {"type": "LinearLR", "start_factor": 0.1, "end": 14, "by_epoch": False},
                {"type": "MultiStepLR", "milestones": [1, 2], "by_epoch": True},
            ],
        ),
        val_dataloader=val_loader,
        val_cfg={},
        val_evaluator={"type": Score},
        default_hooks={
            "logger": {"type": "LoggerHook", "interval": 4},
            "checkpoint": {
                "type": "CheckpointHook",
                "interval": job.get("every", 2),
                "by_epoch": False,
                "save_best": "gap",
                "rule": "less",
                "max_keep_ckpts": 2,
            },
        },
        custom_hooks=hooks,
        launcher="pytorch" if ranks > 1 else "none",
        env_cfg=env_cfg,
        log_level="WARNING",
        randomness={"seed": job.get("seed", 3), "diff_rank_seed": ranks > 1},
        resume=job.get("resume", False),
    ).train()


def fork(job: dict[str, Any], rank: int) -> int:
    """Start a rank; returns its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        run(job, rank)
        code = 0
    except BaseException:
        text = f"rank {rank} of {job}\n{traceback.format_exc()}"
        Path(job["work_dir"]).mkdir(parents=True, exist_ok=True)
        Path(job["work_dir"], f"error_{rank}.txt").write_text(text)
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    """Answer jobs until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # log lines
    torch.set_num_threads(1)
    for line in sys.stdin:
        job = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            job["store"] = f"{folder}/store"
            pids = [fork(job, rank) for rank in range(job["ranks"])]
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        answers.write(json.dumps(codes) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
