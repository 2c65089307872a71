"""Whatever the strategy, a training ends where one process ends that sees the same global batches.

The tolerance towards one process is that of float32 sums taken in another order: gradients differ
by some units in the last place (6e-8 of values around 1), and a few steps of SGD or Adam at rates
of 0.1 and 0.01 make at most some 1e-7 of it, so 1e-6 it is. bfloat16 keeps 8 bits: each rank rounds
its own part, and 2e-2 is what that makes of steps of 0.01. Among strategies with as many ranks the
same sums are taken in the same order: equal bits, but where the norm that clips gradients is
a sum over shards, or where a layer is cut.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from drivetrain import dist
from drivetrain.dist.strategy import DDPStrategy, FSDPStrategy, SingleDeviceStrategy
from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS

optim = pytest.importorskip("drivetrain.optim")
averages = pytest.importorskip("drivetrain.model")

STEPS = 6
SEEDED = {"randomness": {"seed": 7}}
BLOCKS = {"wrap": {"classes": ["Block"]}}
PLAN = {r"blocks\.\d+\.fc1": "colwise", r"blocks\.\d+\.fc2": "rowwise"}
STRATEGIES: dict[str, tuple[type, dict[str, Any]]] = {
    "ddp": (DDPStrategy, {}),
    "fsdp": (FSDPStrategy, BLOCKS),
    "recomputed": (FSDPStrategy, {**BLOCKS, "activation_checkpointing": {"classes": ["Block"]}}),
    "hybrid": (FSDPStrategy, {**BLOCKS, "mesh": {"replicate": 2}}),
    "first": (FSDPStrategy, {"model_wrapper": {"type": "MMFullyShardedDataParallel"}}),
    "tensor": (FSDPStrategy, {**BLOCKS, "mesh": {"tensor": 2}, "tensor_parallel": PLAN}),
}
HYBRID_OF_FOUR: dict[str, tuple[type, dict[str, Any]]] = {
    "ddp": (DDPStrategy, {}),
    "fsdp": (FSDPStrategy, BLOCKS),
    "hybrid": (FSDPStrategy, {**BLOCKS, "mesh": {"replicate": 2, "shard": 2}}),
    "shard and tensor": (
        FSDPStrategy,
        {**BLOCKS, "mesh": {"shard": 2, "tensor": 2}, "tensor_parallel": PLAN},
    ),
    "replicate and tensor": (
        FSDPStrategy,
        {**BLOCKS, "mesh": {"replicate": 2, "tensor": 2}, "tensor_parallel": PLAN},
    ),
}
ADAMW = {"type": "AdamW", "lr": 0.01, "weight_decay": 0.1}
SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True}
CASES: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": ADAMW},
    "sgd": {"optimizer": SGD},
    "rmsprop": {"optimizer": {"type": "RMSprop", "lr": 0.01}},
    "accumulation": {"optimizer": SGD, "accumulative_counts": 2},
    "clipping": {"optimizer": SGD, "clip_grad": {"max_norm": 0.1}},
    "clipped accumulation": {
        "optimizer": ADAMW,
        "accumulative_counts": 2,
        "clip_grad": {"max_norm": 0.1},
    },
    "bf16": {"type": "AmpOptimWrapper", "dtype": "bfloat16", "optimizer": ADAMW},
    "by layer": {
        "optimizer": ADAMW,
        "paramwise_cfg": {"norm_decay_mult": 0.0, "bypass_duplicate": True},
    },
    "several optimizers": {"constructor": "OneForBlocksOneForTheRest"},
}
# Torch's first generation hands out views of one long parameter, whose kind it does not tell.
NOT_BY_THE_FIRST = ("by layer", "several optimizers")


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width)
        self.fc2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(functional.gelu(self.fc1(self.norm(x))))


class Model(nn.Module):
    """A shared embedding, blocks, and a buffer that is in no state dict."""

    def __init__(self, words: int = 12, width: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("places", torch.linspace(0, 0.1, 5).unsqueeze(1), persistent=False)

    def forward(self, words: Tensor, mode: str = "loss") -> dict[str, Tensor]:
        x = self.embedding(words) + self.places
        for block in self.blocks:
            x = block(x)
        return {"loss": functional.cross_entropy(self.head(x).flatten(0, 1), words.flatten())}

    def data_preprocessor(self, data: Any, training: bool = False) -> Any:
        return data

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return losses["loss"], {"loss": losses["loss"].detach()}

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        with optim_wrapper.optim_context(self):
            losses = self(**data)
        optim_wrapper.update_params(losses["loss"])
        return losses


class OneForBlocksOneForTheRest:
    def __init__(self, optim_wrapper_cfg: Any, paramwise_cfg: Any = None) -> None: ...

    def __call__(self, model: nn.Module) -> Any:
        named = list(model.named_parameters())
        blocks = [param for name, param in named if name.startswith("blocks")]
        rest = [param for name, param in named if not name.startswith("blocks")]
        return optim.OptimWrapperDict(
            blocks=optim.OptimWrapper(torch.optim.AdamW(blocks, lr=0.01)),
            rest=optim.OptimWrapper(torch.optim.SGD(rest, lr=0.1, momentum=0.9)),
        )


class Stepper:
    """Lets a wrapped model, whose train_step is the wrapper's, take several optimizers, too."""

    def __init__(self, wrappers: Any) -> None:
        self._wrappers = wrappers

    def optim_context(self, model: nn.Module) -> Any:
        return nullcontext()

    def update_params(self, loss: Tensor) -> None:
        loss.backward()
        for wrapper in self._wrappers.values():
            wrapper.step()
            wrapper.zero_grad()


def run(kind: type, folder: str, options: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Whole weights, averages and learning rate after some steps."""
    OPTIM_WRAPPER_CONSTRUCTORS.register_module(module=OneForBlocksOneForTheRest, force=True)
    strategy = kind(work_dir=folder, env_kwargs=SEEDED, **options).setup()
    schedule = [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 2},
        {"type": "CosineAnnealingLR", "T_max": 8, "by_epoch": False, "begin": 2},
    ]
    several = "constructor" in case
    strategy.prepare(
        Model(),
        optim_wrapper=dict(case),
        param_scheduler=None if several else schedule,
        dispatch_kwargs={"max_iters": STEPS, "epoch_length": STEPS, "max_epochs": 1},
    )
    bare = strategy._bare()
    is_first = options.get("model_wrapper") is not None
    average = None if is_first else averages.ExponentialMovingAverage(bare, momentum=0.2)
    wrapper = Stepper(strategy.optim_wrapper) if several else strategy.optim_wrapper
    for step in range(STEPS):
        strategy.model.train_step({"words": share(step)}, wrapper)
        for scheduler in strategy.param_schedulers or []:
            scheduler.step()
        if average is not None:
            average.update_parameters(bare)
    result = {"weights": whole(strategy.model_state_dict() if is_first else bare.state_dict())}
    if average is not None:
        result["average"] = whole(average.module.state_dict())
    result["rate"] = None if several else strategy.optim_wrapper.get_lr()["lr"]
    return result


def share(step: int) -> Tensor:
    number, count = dist.get_data_share()
    words = torch.randint(0, 12, (8, 5), generator=torch.Generator().manual_seed(step))
    return words.chunk(count)[number]


def whole(state: dict[str, Any]) -> dict[str, Tensor]:
    return {
        name: (value.full_tensor() if hasattr(value, "full_tensor") else value).detach().clone()
        for name, value in state.items()
    }


def table(folder: str, case: dict[str, Any], strategies: dict[str, Any]) -> dict[str, Any]:
    return {name: run(kind, folder, options, case) for name, (kind, options) in strategies.items()}


def check(case: str, results: list[dict[str, Any]], alone: dict[str, Any]) -> None:
    tolerance = 2e-2 if case == "bf16" else 1e-6
    reference = results[0]["ddp"]
    for name, result in results[0].items():
        # Its first generation adds up shards of passes, not passes; and norms of shards are sums.
        is_exact = not (
            "clip" in case or name == "tensor" or (name, case) == ("first", "accumulation")
        )
        assert result["rate"] == alone["rate"]
        for part in ("weights", "average"):
            for weight_name, expected in alone[part].items():
                if part not in result:
                    continue
                found = result[part][weight_name]
                torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
                assert not is_exact or torch.equal(found, reference[part][weight_name]), name


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_end_where_one_process_ends(ranks: Any, tmp_path: Path, case: str) -> None:
    strategies = {
        name: found
        for name, found in STRATEGIES.items()
        if name != "first" or case not in NOT_BY_THE_FIRST
    }
    results = ranks(table, str(tmp_path), CASES[case], strategies)
    alone = run(SingleDeviceStrategy, str(tmp_path), {}, CASES[case])
    check(case, results, alone)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["adamw", "clipped accumulation", "several optimizers"])
def test_four_ranks_in_meshes_end_there_too(four_ranks: Any, tmp_path: Path, case: str) -> None:
    results = four_ranks(table, str(tmp_path), CASES[case], HYBRID_OF_FOUR)
    alone = run(SingleDeviceStrategy, str(tmp_path), {}, CASES[case])
    for result in results[0].values():  # of four ranks the sums have several orders
        for name, expected in alone["weights"].items():
            torch.testing.assert_close(result["weights"][name], expected, rtol=0, atol=2e-6)
        for name, expected in alone["average"].items():
            torch.testing.assert_close(result["average"][name], expected, rtol=0, atol=2e-6)
