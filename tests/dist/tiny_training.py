"""A tiny model, an optimizer wrapper that fits the protocol, and a training of a few steps."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.dist import autocast
from drivetrain.registry import FUNCTIONS


class TinyModel(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (4, 8, 2), dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(len(widths) - 1):
            layers += [nn.Linear(widths[i], widths[i + 1]), nn.Tanh()]
        self.layers = nn.Sequential(*layers[:-1], nn.Dropout(dropout))

    def data_preprocessor(self, data: Any, training: bool = False) -> Any:
        return data

    def forward(self, inputs: Tensor, target: Tensor, mode: str = "tensor") -> Any:
        output = self.layers(inputs)
        return {"loss": (output - target).square().mean()} if mode == "loss" else output

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        loss = sum(losses.values())
        return loss, {name: value.detach() for name, value in losses.items()}

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        with optim_wrapper.optim_context(self):
            losses = self(**self.data_preprocessor(data, True), mode="loss")
        loss, log_vars = self.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return log_vars

    def val_step(self, data: Any) -> Tensor:
        return self(**self.data_preprocessor(data, False), mode="predict")

    test_step = val_step


class TinyOptimWrapper:
    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        accumulative_counts: int = 1,
        clip_norm: float | None = None,
        autocast_dtype: torch.dtype | None = None,
        scale: float | None = None,
    ) -> None:
        self.optimizer = optimizer
        self._autocast_dtype = autocast_dtype
        self.scaler = None if scale is None else torch.amp.GradScaler("cpu", init_scale=scale)
        self._accumulative_counts = accumulative_counts
        self._clip_norm = clip_norm
        self._count = 0
        self.norms: list[float] = []

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        self._count = init_counts

    def optim_context(self, model: nn.Module) -> Any:
        stack = contextlib.ExitStack()
        is_last = (self._count + 1) % self._accumulative_counts == 0
        if not is_last and hasattr(model, "no_sync"):
            stack.enter_context(model.no_sync())
        if self._autocast_dtype is not None:
            stack.enter_context(autocast("cpu", dtype=self._autocast_dtype))
        return stack

    def update_params(self, loss: Tensor) -> None:
        loss = loss / self._accumulative_counts
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        self._count += 1
        if self._count % self._accumulative_counts:
            return
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self._clip_norm is not None:
            params = [p for group in self.param_groups for p in group["params"]]
            norm = torch.nn.utils.clip_grad_norm_(params, self._clip_norm)
            self.norms.append(float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm))
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state_dict)


class TinyWrappers(dict):
    """Several wrappers by name, one for each layer; the state is by name, too."""

    def update_params(self, loss: Tensor) -> None:
        loss.backward()
        for wrapper in self.values():
            wrapper.optimizer.step()
            wrapper.optimizer.zero_grad()

    def optim_context(self, model: nn.Module) -> Any:
        return contextlib.nullcontext()

    def state_dict(self) -> dict[str, Any]:
        return {name: wrapper.state_dict() for name, wrapper in self.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, wrapper in self.items():
            wrapper.load_state_dict(state_dict[name])


class TinyScheduler:
    def __init__(self, optim_wrapper: TinyOptimWrapper, factor: float = 0.9) -> None:
        self.optim_wrapper = optim_wrapper
        self.factor = factor
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        several = isinstance(self.optim_wrapper, dict)
        for wrapper in self.optim_wrapper.values() if several else [self.optim_wrapper]:
            for group in wrapper.param_groups:
                group["lr"] *= self.factor

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "factor": self.factor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.factor = state_dict["steps"], state_dict["factor"]


def build_optim_wrapper(model: nn.Module, cfg: Any) -> Any:
    if not isinstance(cfg, dict):
        return cfg
    if "several" in cfg:
        linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
        return TinyWrappers(  # with dots in their names, and different optimizers
            (name, build_optim_wrapper(part, cfg["several"][index % 2]))
            for index, (name, part) in enumerate(linears.items())
        )
    options = dict(cfg)
    optimizer = dict(options.pop("optimizer"))
    kind = getattr(torch.optim, optimizer.pop("type"))
    return TinyOptimWrapper(kind(model.parameters(), **optimizer), **options)


def build_param_schedulers(cfg: Any, optim_wrapper: Any, **run_length: Any) -> list[Any]:
    return [TinyScheduler(optim_wrapper, **cfg)]


@contextlib.contextmanager
def tiny_builders() -> Any:
    """Offer the two builders that a strategy asks for, as another package would."""
    builders = {
        "build_optim_wrapper": build_optim_wrapper,
        "build_param_schedulers": build_param_schedulers,
    }
    before = {name: FUNCTIONS.module_dict.get(name) for name in builders}
    for name, function in builders.items():
        FUNCTIONS.register_module(name=name, force=True, module=function)
    try:
        yield
    finally:
        for name, function in before.items():
            if function is None:
                FUNCTIONS.module_dict.pop(name, None)
            else:
                FUNCTIONS.register_module(name=name, force=True, module=function)


ADAMW = {"optimizer": {"type": "AdamW", "lr": 0.01}}


def batch(step: int, rank: int = 0, world_size: int = 1, size: int = 8) -> dict[str, Tensor]:
    """Samples of one rank in one step; the ranks' together are the single process's."""
    generator = torch.Generator().manual_seed(1000 + step)
    inputs = torch.randn(size, 4, generator=generator)
    target = torch.randn(size, 2, generator=generator)
    own = slice(rank * size // world_size, (rank + 1) * size // world_size)
    return {"inputs": inputs[own], "target": target[own]}


def train(strategy: Any, steps: range, **options: Any) -> dict[str, Tensor]:
    """Take ``steps``; weights at the end."""
    for step in steps:
        data = batch(step, strategy.rank, strategy.world_size, **options)
        strategy.model.train_step(data, strategy.optim_wrapper)
        for scheduler in strategy.param_schedulers or []:
            scheduler.step()
    return strategy.model_state_dict()
