"""Mixed precision: the forward pass in a lower precision, and a loss scale where it needs one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from drivetrain.optim._errors import OptimArgumentError, OptimTypeError
from drivetrain.optim._optim_wrapper import _NO_CONTEXT, OptimWrapper, device_type_of
from drivetrain.registry import OPTIM_WRAPPERS

_DTYPES = ("float16", "bfloat16", "float32", "float64")


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(OptimWrapper):
    """Trains with ``torch.autocast``, on any device that has it.

    Gradients in float16 underflow, so there, and only there, the loss is scaled; an update
    whose gradients overflowed is skipped and counted in :attr:`skipped_steps`. So ``check_loss``
    is off there: an overflow is nothing unusual.

    Args:
        loss_scale: ``'dynamic'`` for torch's defaults; a number for a scale that never changes;
            a dict of arguments of ``torch.amp.GradScaler``.
        dtype: ``'float16'``, ``'bfloat16'``, ``'float32'``, ``'float64'`` or a ``torch.dtype``;
            ``None`` takes what autocast uses on the device (float16 on CUDA, bfloat16 on a CPU).
        use_fsdp: Use the scaler that looks at the gradients of all shards.
        **kwargs: Arguments of :class:`OptimWrapper`.

    Raises:
        OptimArgumentError: If ``dtype`` or ``loss_scale`` is not one of the above.
        OptimTypeError: If ``loss_scale`` is neither text, a number nor a dict.

    Source: Micikevicius et al., Mixed Precision Training (ICLR 2018), arXiv:1710.03740, for the
    scaling of the loss.
    """

    def __init__(
        self,
        loss_scale: str | float | Mapping[str, Any] = "dynamic",
        dtype: str | torch.dtype | None = None,
        use_fsdp: bool = False,
        **kwargs: Any,
    ) -> None:
        self._scaler_args, self._fixed_scale = _scaler_arguments(loss_scale)
        self.cast_dtype = _as_dtype(dtype)
        self._use_fsdp = use_fsdp
        super().__init__(**kwargs)
        self._stepped = True
        self._skipped_steps = 0
        self._skipped_on_device: Tensor | None = None
        self._follow_device(device_type_of(self.optimizer))

    def _follow_device(self, device_type: str) -> None:
        """Prepare autocast and the loss scale for the device that the parameters are on."""
        self._device_type = device_type
        dtype = self.cast_dtype or torch.get_autocast_dtype(device_type)
        self.scales_loss = dtype == torch.float16
        self.loss_scaler = self._make_scaler(device_type)
        # float32 and float64 are no autocast types on most devices: there is nothing to cast.
        enabled = dtype in (torch.float16, torch.bfloat16)
        self._autocast = torch.autocast(device_type, dtype=dtype, enabled=enabled)
        if self.scales_loss:
            self.check_loss = False
            self.optimizer.register_step_post_hook(self._note_step)

    def _make_scaler(self, device_type: str) -> GradScaler:
        arguments: dict[str, Any] = {"enabled": True, **self._scaler_args}
        if not self.scales_loss:
            return GradScaler(device_type, enabled=False)
        if self._use_fsdp:
            # Not at the top: the module pulls in all of torch.distributed.fsdp (0.2 s).
            from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

            return ShardedGradScaler(device=device_type, **arguments)
        return GradScaler(device_type, **arguments)

    def _note_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._stepped = True

    @property
    def last_step_skipped(self) -> bool:
        """Whether the latest update was dropped because its gradients overflowed."""
        return not self._stepped

    @property
    def skipped_steps(self) -> int:
        """Updates dropped so far because of an overflow. Reading it may wait for the device."""
        on_device = 0 if self._skipped_on_device is None else int(self._skipped_on_device)
        return self._skipped_steps + on_device

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Scale the loss where the precision needs it, compute gradients, and count the pass.

        Args:
            loss: Scalar tensor with a graph, unscaled.
            **kwargs: Passed on to ``Tensor.backward``.
        """
        if self.scales_loss:
            loss = self.loss_scaler.scale(loss)
        super().backward(loss, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Unscale, clip where that is configured, and step unless gradients overflowed."""
        if not self.scales_loss:
            super().step(**kwargs)
            return
        if self.clipper is not None:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self._stepped = False
        self.loss_scaler.step(self.optimizer, **kwargs)
        self._count_skip()
        self.loss_scaler.update(self._fixed_scale)

    def _count_skip(self) -> None:
        if not self._stepped:
            self._skipped_steps += 1
        elif getattr(self.optimizer, "_step_supports_amp_scaling", False):
            # A fused optimizer decides on the device. Add there too, and look only when asked.
            found = self.loss_scaler._found_inf_per_device(self.optimizer)
            overflowed = torch.stack(list(found.values())).amax()
            before = self._skipped_on_device
            self._skipped_on_device = overflowed if before is None else before + overflowed

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return the context for the forward pass: autocast, and ``no_sync`` inside a group.

        Args:
            model: The model that is about to run, wrapped or not.
        """
        device_type = device_type_of(self.optimizer)
        if device_type != self._device_type:
            self._follow_device(device_type)
        outer = super().optim_context(model)
        if outer is _NO_CONTEXT:
            return self._autocast
        stack = ExitStack()
        stack.enter_context(outer)
        stack.enter_context(self._autocast)
        return stack

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state; with a loss scale, also ``'loss_scaler'``."""
        state = super().state_dict()
        if self.scales_loss:
            state["loss_scaler"] = self.loss_scaler.state_dict()
            state["skipped_steps"] = self.skipped_steps
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore optimizer and loss scale; a state without a loss scale leaves ours as it is.

        Args:
            state_dict: What :meth:`state_dict` returned.
        """
        state = dict(state_dict)
        scaler = state.pop("loss_scaler", None)
        skipped = state.pop("skipped_steps", None)
        super().load_state_dict(state)
        if scaler and self.scales_loss:
            self.loss_scaler.load_state_dict(scaler)
        if skipped is not None:
            self._skipped_steps, self._skipped_on_device = skipped, None


def _as_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in _DTYPES:
        raise OptimArgumentError(
            f"AmpOptimWrapper: dtype must be one of {', '.join(_DTYPES)} or None, got {dtype!r}"
        )
    return getattr(torch, dtype)


def _scaler_arguments(
    loss_scale: str | float | Mapping[str, Any],
) -> tuple[dict[str, Any], float | None]:
    if loss_scale == "dynamic":
        return {}, None
    if isinstance(loss_scale, Mapping):
        return dict(loss_scale), None
    if isinstance(loss_scale, int | float) and not isinstance(loss_scale, bool):
        if loss_scale <= 0:
            raise OptimArgumentError(f"AmpOptimWrapper: loss_scale must be > 0, got {loss_scale}")
        return {"init_scale": float(loss_scale)}, float(loss_scale)
    raise OptimTypeError(
        f"AmpOptimWrapper: loss_scale must be 'dynamic', a number or a dict, got {loss_scale!r}"
    )
