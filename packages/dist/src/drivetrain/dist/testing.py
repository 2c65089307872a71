"""For tests: what any strategy must do, ours or yours, as one check; and ranks on demand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.dist._device import get_device
from drivetrain.dist._objects import all_gather_object, broadcast_object
from drivetrain.dist._ranks_on_demand import on_ranks
from drivetrain.dist.strategy import BaseStrategy
from drivetrain.registry import FUNCTIONS

__all__ = ["check_strategy", "on_ranks"]

_STEPS = 6
_LEARNING_RATE = 0.05


def check_strategy(make: Callable[[], BaseStrategy], folder: str) -> None:
    """Train, save, load and resume a small model with a strategy; called on all of its ranks.

    The strategy must seed itself in the same way each time, e.g. by
    ``env_kwargs=dict(randomness=dict(seed=0))``.

    Args:
        make: Makes a fresh strategy, each time alike, with its ``work_dir`` in ``folder``.
        folder: An empty folder that all ranks see.

    Raises:
        AssertionError: If the strategy does not do what it must; says what.
    """
    file = os.path.join(broadcast_object(folder), "step_3")
    with _builders():
        whole = _prepared(make())
        _check_surroundings(whole)
        _check_second_prepare(whole)
        fresh = _predictions(whole)
        losses = _train(whole, range(_STEPS))
        _require(losses[-1] < losses[0], f"training must lower the loss, it went {losses}")
        _check_equal_on_ranks(_predictions(whole), "predictions after training")

        half = _prepared(make())
        _require(
            torch.equal(_predictions(half), fresh),
            "equal seeds must give equal weights: is make() seeded?",
        )
        _train(half, range(_STEPS // 2))
        saved = _predictions(half)
        half.save_checkpoint(file, extra_ckpt={"meta": {"iter": _STEPS // 2}})
        _require(os.path.exists(file), "save_checkpoint must write what it was asked to")

        _check_load(_prepared(make()), file, saved)
        _check_resume(_prepared(make()), file, saved, whole)


def _check_surroundings(strategy: BaseStrategy) -> None:
    stamp = strategy.timestamp
    _require(strategy.setup() is strategy, "setup must return the strategy")
    _require(strategy.timestamp == stamp, "setup must do its work once")
    _require(os.path.isdir(strategy.log_dir), "setup must make log_dir")
    shared = (stamp, strategy.seed, strategy.experiment_name, strategy.world_size)
    everyones = all_gather_object(shared) if strategy.distributed else [shared]
    _require(
        all(theirs == shared for theirs in everyones),
        f"ranks must agree on time stamp, seed, name and number; they have {everyones}",
    )


def _check_second_prepare(strategy: BaseStrategy) -> None:
    again = strategy.prepare(nn.Identity(), optim_wrapper={}, param_scheduler={})
    first = [strategy.model, strategy.optim_wrapper, strategy.param_schedulers]
    _require(
        len(again) == 3 and all(a is b for a, b in zip(again, first, strict=True)),
        "a second prepare must return what the first prepared: model, optimizer, schedulers",
    )


def _check_load(strategy: BaseStrategy, file: str, saved: Tensor) -> None:
    seen: list[Any] = []
    checkpoint = strategy.load_checkpoint(file, callback=seen.append)
    _require(len(seen) == 1, "load_checkpoint must show the checkpoint to its callback, once")
    _require(
        checkpoint["meta"]["iter"] == _STEPS // 2, "load_checkpoint must return the checkpoint"
    )
    _require(torch.equal(_predictions(strategy), saved), "load_checkpoint must bring the weights")
    _require(strategy.param_schedulers[0].steps == 0, "load_checkpoint must bring weights only")


def _check_resume(strategy: BaseStrategy, file: str, saved: Tensor, whole: BaseStrategy) -> None:
    torch.rand(3)  # the random state must come from the checkpoint
    strategy.resume(file)
    _require(torch.equal(_predictions(strategy), saved), "resume must bring the weights")
    _require(
        strategy.param_schedulers[0].steps == _STEPS // 2, "resume must bring the schedulers' state"
    )
    _train(strategy, range(_STEPS // 2, _STEPS))
    _require(
        torch.equal(_predictions(strategy), _predictions(whole)),
        "a resumed run must end like one in one go: optimizer and random state must come back",
    )


def _check_equal_on_ranks(values: Tensor, what: str) -> None:
    everyones = all_gather_object(values.cpu())
    _require(
        all(torch.equal(theirs, everyones[0]) for theirs in everyones),
        f"{what} must be equal on all ranks",
    )


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise AssertionError(text)


def _prepared(strategy: BaseStrategy) -> BaseStrategy:
    strategy.setup()
    options = {"max_iters": _STEPS, "train_micro_batch_size_per_gpu": 4}
    strategy.prepare(_Model(), optim_wrapper={}, param_scheduler={}, dispatch_kwargs=options)
    return strategy


def _train(strategy: Any, steps: range) -> list[float]:
    losses = []
    for step in steps:
        data = _batch(step, strategy.rank)
        log_vars = strategy.model.train_step(data, strategy.optim_wrapper)
        losses.append(float(log_vars["loss"]))
        strategy.param_schedulers[0].step()
    return losses


def _predictions(strategy: Any) -> Tensor:
    strategy.model.eval()
    with torch.no_grad():
        predictions = strategy.model.val_step(_batch(99, 0))
    strategy.model.train()
    return predictions.clone()


def _batch(step: int, rank: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1000 * step + rank)
    inputs = torch.randn(4, 6, generator=generator)
    target = inputs.sum(1, keepdim=True).tanh()
    return {"inputs": inputs.to(get_device()), "target": target.to(get_device())}


class _Model(nn.Module):
    """A model with dropout, so that training needs the random state."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, 9), nn.Tanh(), nn.Dropout(0.1), nn.Linear(9, 5), nn.Tanh(), nn.Linear(5, 1)
        )

    def data_preprocessor(self, data: Any, training: bool = False) -> Any:
        return data

    def forward(self, inputs: Tensor, target: Tensor, mode: str = "tensor") -> Any:
        output = self.layers(inputs)
        return {"loss": (output - target).square().mean()} if mode == "loss" else output

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return losses["loss"], {"loss": losses["loss"].detach()}

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        with optim_wrapper.optim_context(self):
            losses = self(**data, mode="loss")
        loss, log_vars = self.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return log_vars

    def val_step(self, data: Any) -> Tensor:
        return self(**data, mode="predict")

    test_step = val_step


class _Wrapper:
    """The least that fits ``OptimizerWrapper``: SGD with momentum, so that there is a state."""

    def __init__(self, model: nn.Module) -> None:
        self.optimizer = torch.optim.SGD(model.parameters(), lr=_LEARNING_RATE, momentum=0.9)
        self.param_groups = self.optimizer.param_groups
        self.state_dict = self.optimizer.state_dict

    def optim_context(self, model: nn.Module) -> Any:
        return nullcontext()

    def update_params(self, loss: Tensor) -> None:
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state_dict)
        self.param_groups = self.optimizer.param_groups


class _Scheduler:
    """The least that fits ``Scheduler``: the learning rate shrinks by a tenth at each step."""

    def __init__(self, optim_wrapper: _Wrapper) -> None:
        self.optim_wrapper = optim_wrapper
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        for group in self.optim_wrapper.param_groups:
            group["lr"] = _LEARNING_RATE * 0.9**self.steps

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = state_dict["steps"]


@contextmanager
def _builders() -> Iterator[None]:
    """Offer the two builders that a strategy asks for, in place of those that are installed."""
    builders: dict[str, Callable[..., Any]] = {
        "build_optim_wrapper": lambda model, cfg: _Wrapper(model),
        "build_param_schedulers": lambda cfg, optim_wrapper, **known: [_Scheduler(optim_wrapper)],
    }
    before = {name: FUNCTIONS.module_dict.get(name) for name in builders}
    for name, builder in builders.items():
        FUNCTIONS.register_module(name=name, module=builder, force=True)
    try:
        yield
    finally:
        for name, builder in before.items():
            if builder is None:
                FUNCTIONS.module_dict.pop(name, None)
            else:
                FUNCTIONS.register_module(name=name, module=builder, force=True)
