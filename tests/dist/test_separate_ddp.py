"""Parts of a model that are trained in turns, each data-parallel on its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from drivetrain import dist
from drivetrain.checkpoint import get_state_dict
from drivetrain.registry import MODEL_WRAPPERS


class TwoParts(nn.Module):
    """A generator and a discriminator, with a frozen part and one without parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Linear(4, 2)
        self.discriminator = nn.Linear(2, 1)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.shape = nn.Tanh()

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return self.shape(self.frozen(self.generator(noise)))

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        fake = self(data["inputs"])
        d_loss = self.discriminator(fake.detach()).square().mean()
        optim_wrapper["discriminator"].update_params(d_loss)
        g_loss = -self.discriminator(self(data["inputs"])).mean()
        optim_wrapper["generator"].update_params(g_loss)
        optim_wrapper["discriminator"].optimizer.zero_grad()
        return {"d": d_loss.detach(), "g": g_loss.detach()}

    def val_step(self, data: Any) -> torch.Tensor:
        return self(data["inputs"])

    test_step = val_step


def _tiny() -> Any:
    import tiny_training

    return tiny_training


def _train(wrap: bool, steps: int) -> tuple[dict[str, torch.Tensor], list[str]]:
    torch.manual_seed(0)
    model: nn.Module = TwoParts()
    rank, world_size = dist.get_dist_info()
    if wrap:
        model = dist.MMSeparateDistributedDataParallel(model)
    parts = model.module if wrap else model
    wrappers = {
        name: _tiny().TinyOptimWrapper(torch.optim.SGD(part.parameters(), lr=0.1))
        for name, part in parts.named_children()
        if name in ("generator", "discriminator")
    }
    for step in range(steps):
        model.train_step(_tiny().batch(step, rank, world_size), wrappers)
    kinds = [type(part).__name__ for part in parts.children()]
    return dict(get_state_dict(model)), kinds


def test_each_trainable_part_is_wrapped_and_trains_like_one_process(ranks: Any) -> None:
    (first, kinds), (second, _) = ranks(_train, True, 3)
    alone, _ = _train(False, 3)
    ddp = "MMDistributedDataParallel"
    assert kinds == [ddp, ddp, "Linear", "Tanh"]
    assert first.keys() == alone.keys()
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], weight, rtol=0, atol=1e-6)


def _modes() -> tuple[Any, ...]:
    model = dist.MMSeparateDistributedDataParallel(TwoParts())
    model.eval()
    off = (model.training, model.module.generator.module.training)
    model.train()
    data = _tiny().batch(0, dist.get_rank(), 2)
    with model.no_sync():
        model.module.discriminator(model(data["inputs"])).sum().backward()
    own = model.module.generator.module.weight.grad
    grads = dist.all_gather(own)
    return (
        off,
        (model.training, model.module.generator.module.training),
        torch.equal(grads[0], grads[1]),
        torch.equal(model.val_step(data), model.test_step(data)),
        dist.is_model_wrapper(model),
    )


def test_modes_and_no_sync_reach_every_part(ranks: Any) -> None:
    assert ranks(_modes) == [((False, False), (True, True), False, True, True)] * 2


class OwnParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


def test_models_that_no_part_covers_are_refused() -> None:
    with pytest.raises(dist.WrapperError, match="no part would exchange: scale"):
        dist.MMSeparateDistributedDataParallel(OwnParameter())
    with pytest.raises(dist.WrapperError, match="nothing to train"):
        dist.MMSeparateDistributedDataParallel(nn.Sequential(nn.Tanh()))


def test_it_is_found_by_name() -> None:
    found = MODEL_WRAPPERS.get("MMSeparateDistributedDataParallel")
    assert found is dist.MMSeparateDistributedDataParallel
