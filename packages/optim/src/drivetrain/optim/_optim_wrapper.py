"""One interface for updating parameters, whatever the precision or the accumulation."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from math import isfinite
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from drivetrain.dist import is_distributed
from drivetrain.logging import MessageHub, print_log
from drivetrain.optim._accumulation import AccumulationPlan, SampleWeights
from drivetrain.optim._errors import LossError, OptimArgumentError, OptimTypeError
from drivetrain.optim._finite_loss import refuse_unless_finite
from drivetrain.optim._grad_clip import GradientClipper
from drivetrain.registry import OPTIM_WRAPPERS

# One object for every step that needs no context: entering it costs next to nothing.
_NO_CONTEXT: AbstractContextManager[Any] = nullcontext()


class BaseOptimWrapper(ABC):
    """What the engine asks of whatever updates parameters.

    Args:
        optimizer: The optimizer, or an object of another library that has ``param_groups``,
            ``defaults``, ``state_dict`` and ``load_state_dict``.
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        #: The settings from which those of the parameter groups were derived. Set by a
        #: constructor that gives groups settings of their own; schedulers then follow it too.
        self.base_param_settings: dict[str, Any] | None = None

    @abstractmethod
    def update_params(self, *args: Any, **kwargs: Any) -> None:
        """Run backward, and where a group of passes is complete, step and clear the gradients.

        Args:
            *args: As the subclass says; for one optimizer, the scalar loss.
            **kwargs: As the subclass says.
        """

    @abstractmethod
    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Compute gradients from ``loss``.

        Args:
            loss: Scalar tensor with a graph.
            **kwargs: Passed on to ``Tensor.backward``.
        """

    @abstractmethod
    def zero_grad(self, **kwargs: Any) -> None:
        """Clear the gradients."""

    @abstractmethod
    def step(self, **kwargs: Any) -> None:
        """Update the parameters from their gradients."""

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state, and the base settings where there are any."""
        state = self.optimizer.state_dict()
        if self.base_param_settings is not None:
            state["base_param_settings"] = dict(self.base_param_settings)
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; the argument is not changed.

        Args:
            state_dict: What :meth:`state_dict` returned.
        """
        state = dict(state_dict)
        base = state.pop("base_param_settings", None)
        self.optimizer.load_state_dict(state)
        if base is not None:
            self.base_param_settings = dict(base)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameter groups, then the base settings where there are any."""
        if self.base_param_settings is None:
            return self.optimizer.param_groups
        return [*self.optimizer.param_groups, self.base_param_settings]

    @property
    def defaults(self) -> dict[str, Any]:
        """The optimizer's default settings."""
        return self.optimizer.defaults

    def get_lr(self) -> dict[str, list[float]]:
        """Return ``{'lr': [one per parameter group]}``, and ``'base_lr'`` where it is known."""
        rates: dict[str, list[float]] = {}
        if self.base_param_settings is not None and "lr" in self.base_param_settings:
            rates["base_lr"] = [self.base_param_settings["lr"]]
        rates["lr"] = [group["lr"] for group in self.optimizer.param_groups]
        return rates

    def get_momentum(self) -> dict[str, list[float]]:
        """Return ``{'momentum': [one per parameter group]}``; the first beta for Adam and its kin.

        Groups that have neither count as 0.
        """
        return {"momentum": [_momentum(group) for group in self.optimizer.param_groups]}


def _require_finite_settings(owner: str, optimizer: Optimizer) -> None:
    """Refuse what some optimizers of torch let through, and every parameter would become NaN of."""
    for index, group in enumerate(optimizer.param_groups):
        for key in ("lr", "weight_decay"):
            value = group.get(key)
            if isinstance(value, float) and not isfinite(value):
                raise OptimArgumentError(
                    f"{owner}: {key!r} of parameter group {index} is {value}. Set a finite number "
                    "in the optimizer's node, and in the factors of paramwise_cfg."
                )


def _momentum(group: Mapping[str, Any]) -> float:
    if "momentum" in group:
        return group["momentum"]
    return group["betas"][0] if "betas" in group else 0


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(BaseOptimWrapper):
    """Updates parameters in full precision, with gradient accumulation and clipping.

    Args:
        optimizer: The optimizer to step.
        accumulative_counts: Backward passes per update. Each loss is divided by the length of its
            group, so that the update equals that of one batch with all samples of the group.
        clip_grad: Arguments of ``clip_grad_norm_`` (``dict(max_norm=1.0)``) or of
            ``clip_grad_value_`` (``dict(clip_value=0.2)``). The norm before clipping goes to the
            message hub as ``train/grad_norm``.
        check_loss: Refuse a loss that is infinite or not a number before anything is computed from
            it, where looking at it costs nothing: on a CPU. On other devices a look in each step
            would wait for them; there the log shows it, and ``NaNWatchHook`` finds its origin.

    Raises:
        OptimTypeError: If ``optimizer`` is no optimizer, or a count or limit is of a wrong type.
        OptimArgumentError: If a count is below 1, ``clip_grad`` cannot work, or a parameter group
            has a learning rate or weight decay that is infinite or not a number.

    Note:
        With accumulation, run the forward pass inside :meth:`optim_context`: a data-parallel model
        then communicates only in the pass that updates. Call :meth:`initialize_count_status` once
        before training, so that a last, shorter group is known to be one.

    Example:
        >>> import torch
        >>> model = nn.Linear(2, 1)
        >>> wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        >>> for batch in torch.ones(3, 4, 2):
        ...     with wrapper.optim_context(model):
        ...         loss = model(batch).pow(2).mean()
        ...     wrapper.update_params(loss)
        >>> wrapper.inner_count
        3
    """

    #: What an update consists of, as it is written here; see the end of this file.
    as_written: ClassVar[dict[str, Callable[..., Any]]]

    def __init__(
        self,
        optimizer: Optimizer,
        accumulative_counts: int = 1,
        clip_grad: Mapping[str, Any] | None = None,
        *,
        check_loss: bool = True,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise OptimTypeError(
                f"{type(self).__name__}: optimizer must be a torch.optim.Optimizer, "
                f"got {type(optimizer).__name__}"
            )
        _require_finite_settings(type(self).__name__, optimizer)
        plan = AccumulationPlan(accumulative_counts)
        clipper = None if clip_grad is None else GradientClipper(clip_grad)
        super().__init__(optimizer)
        self.clipper = clipper
        self.check_loss = check_loss
        self._message_hub: MessageHub | None = None
        self._samples = SampleWeights()
        self._inner_count = 0  # backward passes so far; subclasses that override backward add 1
        self._restored_count: int | None = None  # where a restored, unfinished group stands
        self._plan = plan
        self._accumulative_counts = plan.counts  # strategies and older subclasses read it
        self._accumulates = plan.counts > 1  # a plain flag: read three times in each iteration

    @property
    def inner_count(self) -> int:
        """Backward passes so far."""
        return self._inner_count

    @property
    def accumulative_counts(self) -> int:
        """Backward passes per update."""
        return self._plan.counts

    @property
    def message_hub(self) -> MessageHub:
        """Where the gradient norm is logged: the hub that was set, else the current one."""
        return self._message_hub or MessageHub.get_current_instance()

    @message_hub.setter
    def message_hub(self, hub: MessageHub) -> None:
        self._message_hub = hub

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: Mapping[str, Any] | None = None,
        zero_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Run backward; when the group of passes is complete, step and clear the gradients.

        A loss that carries ``num_samples`` (an attribute, set by a model that reports its sample
        count) is weighted by it: the update then is exact for passes and ranks of unequal sizes.

        Args:
            loss: Scalar; the mean over this pass's samples.
            step_kwargs: Passed on to :meth:`step`.
            zero_kwargs: Passed on to :meth:`zero_grad`.

        Raises:
            OptimTypeError: If the loss is no tensor, nor anything else with ``backward``.
            LossError: If it is no scalar, or has no graph.
            NonFiniteLossError: If it is infinite or not a number (see ``check_loss``); gradients
                and parameters are as before.
        """
        if not hasattr(loss, "backward"):
            raise OptimTypeError(
                f"update_params: the loss must be a scalar tensor, got {type(loss).__name__}. "
                "Pass the sum of the losses, as computed from the model's parameters."
            )
        num_samples = getattr(loss, "num_samples", None)
        if num_samples is None:
            self.backward(self.scale_loss(loss))
        else:
            self.backward(loss * num_samples)
            self._samples.add(num_samples)
        if self.should_update():
            if num_samples is not None:
                self._samples.divide_gradients(self.optimizer)
            if step_kwargs is None:
                self.step()
            else:
                self.step(**step_kwargs)
            if zero_kwargs is None:
                self.zero_grad()
            else:
                self.zero_grad(**zero_kwargs)

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Compute gradients, and count the pass.

        Args:
            loss: Scalar.
            **kwargs: Passed on to ``Tensor.backward``.

        Raises:
            LossError: If the loss is no scalar, or has no graph.
            NonFiniteLossError: If it is infinite or not a number (see ``check_loss``).
        """
        if self.check_loss:
            refuse_unless_finite(loss, self._inner_count, self._plan.counts)
        try:
            loss.backward(**kwargs)
        except RuntimeError as err:
            raise_if_loss_is_wrong(loss, kwargs, err)
            raise
        self._inner_count += 1

    def zero_grad(self, **kwargs: Any) -> None:
        """Clear the gradients; ``kwargs`` go to ``Optimizer.zero_grad``."""
        self.optimizer.zero_grad(**kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip where that is configured, then step; ``kwargs`` go to ``Optimizer.step``."""
        if self.clipper is not None:
            self._clip_grad()
        self.optimizer.step(**kwargs)

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return the context for the forward pass.

        In a pass that does not end a group, a model that offers ``no_sync`` or
        ``set_requires_gradient_sync`` keeps its gradients to itself; otherwise nothing happens.

        Args:
            model: The model that is about to run, wrapped or not.
        """
        return _NO_CONTEXT if not self._accumulates else self._sync_context(model)

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Say where in the run training begins, and how long the run is.

        Args:
            model: The model to be trained; looked at for layers that accumulation does not suit.
            init_counts: Backward passes that lie behind.
            max_counts: Backward passes of the whole run; ``-1`` if unknown.

        Raises:
            OptimArgumentError: If one of the numbers is negative otherwise.
        """
        if init_counts < 0 or max_counts < -1:
            raise OptimArgumentError(
                "initialize_count_status: init_counts counts passes from 0 on, and max_counts is "
                f"-1 where it is unknown; got {init_counts} and {max_counts}"
            )
        start = init_counts
        if self._restored_count == init_counts:
            start -= init_counts % self._plan.counts  # the group goes on with its gradients
        elif self._restored_count is not None:
            self.zero_grad()  # they belong to another place of the run
        self._restored_count = None
        self._inner_count = init_counts
        self._plan = AccumulationPlan(self._plan.counts, start=start, max_counts=max_counts)
        if self._accumulates:
            self._warn_where_accumulation_is_inexact(model)

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state; inside a group also the gradients accumulated so far.

        These are left out with several ranks: each has its own; see :meth:`accumulated_state`.
        """
        state = super().state_dict()
        accumulated = None if is_distributed() else self.accumulated_state()
        if accumulated is not None:
            state["accumulated"] = accumulated
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; the argument is not changed.

        Args:
            state_dict: What :meth:`state_dict` returned.
        """
        state = dict(state_dict)
        accumulated = state.pop("accumulated", None)
        super().load_state_dict(state)
        if accumulated is not None and not is_distributed():
            self.load_accumulated_state(accumulated)

    def accumulated_state(self) -> dict[str, Any] | None:
        """Return what this rank has added up inside a group of passes.

        Returns:
            ``None`` between two groups, and where gradients are cut into shards.
        """
        if not self._accumulates or self._plan.ends_group(self._inner_count):
            return None
        params = self._params()
        if any(type(param.data) is not Tensor for param in params):  # a DTensor
            return None
        return {
            "inner_count": self._inner_count,
            "gradients": [None if p.grad is None else p.grad.clone() for p in params],
            "num_samples": self._samples.counted,
        }

    def load_accumulated_state(self, state: Mapping[str, Any]) -> None:
        """Go on inside the group that :meth:`accumulated_state` was called in, on the same rank.

        Args:
            state: What :meth:`accumulated_state` returned.
        """
        params, gradients = self._params(), state["gradients"]
        if not self._accumulates or len(params) != len(gradients):
            return  # another optimizer by now: `initialize_count_status` tells of the loss
        self._samples.counted = state["num_samples"]
        self._inner_count = self._restored_count = state["inner_count"]
        for param, gradient in zip(params, gradients, strict=True):
            param.grad = None if gradient is None else gradient.to(param)

    def _params(self) -> list[Tensor]:
        return [param for group in self.optimizer.param_groups for param in group["params"]]

    def should_update(self) -> bool:
        """Tell, after backward, whether the group is complete and the parameters are due."""
        return not self._accumulates or self._plan.ends_group(self._inner_count)

    def should_sync(self) -> bool:
        """Tell, before backward, whether this pass ends its group and ranks must communicate."""
        return not self._accumulates or self._plan.ends_group(self._inner_count + 1)

    def scale_loss(self, loss: Tensor) -> Tensor:
        """Divide ``loss`` by the number of passes in its group.

        Args:
            loss: Scalar; the mean over this pass's samples.

        Returns:
            The loss over the number of passes in its group.
        """
        if not self._accumulates:
            return loss
        length = self._plan.group_length(self._inner_count)
        return loss if length == 1 else loss / length

    def _sync_context(self, model: Any) -> AbstractContextManager[Any]:
        sync = self.should_sync()
        if hasattr(model, "set_requires_gradient_sync"):  # fully sharded: a switch, no context
            model.set_requires_gradient_sync(sync)
            return _NO_CONTEXT
        return _NO_CONTEXT if sync or not hasattr(model, "no_sync") else model.no_sync()

    def _clip_grad(self) -> None:
        params = [param for param in self._params() if param.grad is not None]
        if params and self.clipper is not None:
            self.message_hub.update_scalar("train/grad_norm", self.clipper(params))

    def _warn_where_accumulation_is_inexact(self, model: nn.Module) -> None:
        if self._plan.start % self._plan.counts != 0:
            print_log(
                f"Training goes on at pass {self._inner_count}, inside a group of "
                f"{self._plan.counts} accumulated passes: the gradients of the passes before it "
                "are lost, and this group is shorter.",
                logger="current",
                level=logging.WARNING,
            )
        if any(isinstance(module, _BatchNorm) for module in model.modules()):
            print_log(
                "Gradient accumulation in a model with BatchNorm is not the same as a larger "
                "batch: each pass normalizes by its own statistics.",
                logger="current",
                level=logging.WARNING,
            )

    def __repr__(self) -> str:
        return (
            f"Type: {type(self).__name__}\n"
            f"accumulative_counts: {self._plan.counts}\n"
            f"optimizer:\n{self.optimizer!r}"
        )


# Who takes a shorter way to the same update looks here whether a wrapper has methods of its own.
# Noted now: a test may replace them on the class later.
OptimWrapper.as_written = {
    name: getattr(OptimWrapper, name)
    for name in (
        "optim_context",
        "update_params",
        "scale_loss",
        "backward",
        "should_update",
        "step",
        "zero_grad",
        "get_lr",
    )
}


def raise_if_loss_is_wrong(loss: Tensor, kwargs: Mapping[str, Any], err: RuntimeError) -> None:
    """Explain why a loss cannot be differentiated, where that is the loss's own fault."""
    if not loss.requires_grad:
        raise LossError(
            f"The loss (dtype {loss.dtype}) has no graph: nothing that it was computed from "
            "requires gradients. Is it detached, an integer, computed under torch.no_grad(), or "
            "are all parameters frozen?"
        ) from err
    if loss.numel() != 1 and "gradient" not in kwargs:
        raise LossError(
            f"The loss must be a scalar, and has shape {tuple(loss.shape)}. Take its mean or sum."
        ) from err


def device_type_of(optimizer: Optimizer) -> str:
    """Return the type of the device that the training of an optimizer's parameters runs on."""
    param = next(param for group in optimizer.param_groups for param in group["params"])
    # Shards may wait on the CPU for their turn on the devices of their mesh.
    mesh = getattr(param, "device_mesh", None)
    return param.device.type if mesh is None else mesh.device_type
