"""What of sharding only an accelerator can show; one device is enough."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

PROGRAM = """
import json, sys
import torch
import torch.distributed as torch_dist
from torch import nn
from drivetrain.checkpoint import AsyncCheckpointWriter, _staging
from drivetrain.dist.strategy import FSDPStrategy
import drivetrain.optim

folder, options = sys.argv[1], json.loads(sys.argv[2])
_staging._LARGE_BYTES = 100_000  # less than a weight
torch.cuda.set_device(0)
store = torch_dist.FileStore(folder + "/store", 1)
torch_dist.init_process_group("cpu:gloo,cuda:nccl", store=store, rank=0, world_size=1)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(256, 256) for _ in range(4)))

    def forward(self, inputs):
        return self.layers(inputs).square().mean()


def prepared():
    strategy = FSDPStrategy(
        work_dir=folder + "/runs",
        env_kwargs={"randomness": {"seed": 1}},
        wrap={"classes": ["Linear"]},
        **options,
    ).setup()
    strategy.prepare(Model(), optim_wrapper={"optimizer": {"type": "AdamW", "lr": 0.01}})
    return strategy


def train(strategy, steps):
    for step in steps:
        generator = torch.Generator("cuda").manual_seed(step)
        inputs = torch.randn(8, 256, device="cuda", generator=generator)
        strategy.optim_wrapper.update_params(strategy.model(inputs))
    return [param.full_tensor().cpu().clone() for param in strategy.model.parameters()]


whole = train(prepared(), range(4))
first = prepared()
train(first, range(2))
with AsyncCheckpointWriter(folder) as writer:
    first.save_checkpoint(folder + "/step_2", background=writer)
    behind = train(first, range(2, 4))  # training does not wait, and the copy does not see it
    pinned = [buffer.is_pinned() for buffer in writer._staging._buffers]
second = prepared()
second.resume(folder + "/step_2")
rest = train(second, range(2, 4))
print(json.dumps({
    "resumed": all(torch.equal(a, b) for a, b in zip(rest, whole)),
    "undisturbed": all(torch.equal(a, b) for a, b in zip(behind, whole)),
    "pinned": pinned,
    "device": str(next(second.model.parameters()).to_local().device.type),
}))
torch_dist.destroy_process_group()
"""


@pytest.mark.parametrize(
    ("options", "device"),
    [
        ({"state_dict_cfg": "sharded"}, "cuda"),
        ({"state_dict_cfg": "sharded", "meta_init": True}, "cuda"),
        ({"state_dict_cfg": "full"}, "cuda"),
        ({"state_dict_cfg": "sharded", "cpu_offload": True}, "cpu"),
        (
            {"state_dict_cfg": "sharded", "mixed_precision": {"param_dtype": "bfloat16"}},
            "cuda",
        ),
    ],
    ids=["sharded", "from meta", "full", "offloaded", "bfloat16"],
)
def test_a_device_is_resumed_from_a_save_in_the_background_cuda(
    tmp_path: Path, options: dict[str, Any], device: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["resumed"]
    assert found["undisturbed"]
    assert found["device"] == device
    if device == "cuda" and options["state_dict_cfg"] == "sharded":
        assert len(found["pinned"]) >= 4  # weights, and moments of each
        assert all(found["pinned"])
