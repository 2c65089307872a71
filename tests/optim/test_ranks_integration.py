"""Two processes: what only several ranks can show. All scenarios share one pair of processes."""

from __future__ import annotations

import copy
import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

SIZES = [[3, 1, 2], [1, 4, 2]]  # samples by rank and pass


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def batch(rank: int, index: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(10 * rank + index)
    return torch.randn(SIZES[rank][index], 3, generator=generator)


def loss_of(model: nn.Module, data: torch.Tensor) -> torch.Tensor:
    return model(data).pow(2).mean()


def weighted_accumulation(rank: int) -> None:
    """Passes and ranks of unequal sizes give the step of all samples in one batch."""
    from drivetrain.optim import OptimWrapper

    model, reference = make_model(), make_model()
    ddp = DistributedDataParallel(model)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=3)
    for index in range(3):
        with wrapper.optim_context(ddp):
            loss = loss_of(ddp, batch(rank, index))
        loss.num_samples = SIZES[rank][index]
        wrapper.update_params(loss)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1)
    loss_of(reference, torch.cat([batch(r, i) for r in (0, 1) for i in range(3)])).backward()
    optimizer.step()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def overflow_on_one_rank(rank: int) -> None:
    """An overflow anywhere skips the update everywhere."""
    from drivetrain.optim import AmpOptimWrapper

    model = make_model()
    before = copy.deepcopy(model.state_dict())
    ddp = DistributedDataParallel(model)
    wrapper = AmpOptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1), dtype="float16"
    )
    with wrapper.optim_context(ddp):
        loss = loss_of(ddp, batch(rank, 0))
    wrapper.update_params(loss * (float("inf") if rank == 0 else 1.0))
    assert wrapper.skipped_steps == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def divided_state(rank: int) -> None:
    """A divided optimizer trains as a whole one; its state is whole on rank 0, and loads."""
    from drivetrain.optim import build_optim_wrapper

    cfg = {"type": "ZeroRedundancyOptimizer", "optimizer_type": "AdamW", "lr": 0.1}
    models = [make_model(), make_model()]
    divided = build_optim_wrapper(models[0], {"optimizer": cfg})
    whole = build_optim_wrapper(models[1], {"optimizer": {"type": "AdamW", "lr": 0.1}})
    for wrapper, model in zip((divided, whole), models, strict=True):
        ddp = DistributedDataParallel(model)
        for index in range(2):
            wrapper.update_params(loss_of(ddp, batch(rank, index)))
    for ours, theirs in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    state = divided.state_dict()
    assert bool(state) == (rank == 0)
    holder = [state]
    dist.broadcast_object_list(holder)
    divided.load_state_dict(holder[0])


SCENARIOS = [weighted_accumulation, overflow_on_one_rank, divided_state]


def run_rank(rank: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    for scenario in SCENARIOS:
        try:
            scenario(rank)
            outcome = "ok"
        except Exception as err:
            outcome = f"rank {rank}: {type(err).__name__}: {err}"
        outcomes: list[object] = [None, None]
        dist.all_gather_object(outcomes, outcome)
        if rank == 0:
            with open(f"{folder}/{scenario.__name__}", "w") as file:
                file.write("\n".join(str(o) for o in outcomes))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.start_processes(run_rank, args=(str(folder),), nprocs=2, start_method="fork")
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "store"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_two_ranks(outcomes, scenario) -> None:
    assert outcomes[scenario.__name__] == "ok\nok"
