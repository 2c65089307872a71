"""Two processes with a fully sharded model: what averaging does to shards."""

from __future__ import annotations

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))


def step(model: nn.Module, rank: int | None) -> None:
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(4, 3, generator=generator)
    data = data if rank is None else data[2 * rank : 2 * rank + 2]
    model(data).pow(2).mean().backward()
    with torch.no_grad():
        for param in model.parameters():
            param -= 0.1 * param.grad
            param.grad = None


def run_rank(rank: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    from torch.distributed.fsdp import fully_shard

    from drivetrain.model import AveragingError, ExponentialMovingAverage

    whole, sharded = make_model(), make_model()
    averages = [ExponentialMovingAverage(model, momentum=0.25) for model in (whole, sharded)]
    averages[1].update_parameters(sharded)  # sharding comes after: the tensors are replaced
    averages[0].update_parameters(whole)
    fully_shard(sharded)
    fully_shard(averages[1].module)
    with pytest.raises(AveragingError, match="Make the average first"):
        ExponentialMovingAverage(sharded)
    for _ in range(3):
        for average, model, share in zip(averages, (whole, sharded), (None, rank), strict=True):
            average.update_parameters(model)
            step(model, share)
    for ours, theirs in zip(averages[1].parameters(), averages[0].parameters(), strict=True):
        torch.testing.assert_close(ours.full_tensor(), theirs)
    dist.destroy_process_group()


@pytest.mark.slow
def test_shards_are_averaged_where_they_are(tmp_path) -> None:
    mp.start_processes(run_rank, args=(str(tmp_path),), nprocs=2, start_method="fork")
