"""Batch norm over all ranks, on any device and any backend."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as torch_dist
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm

from drivetrain.dist._group import get_world_size

# N batch, C channels; S all sizes after C, flattened.


class _SumOverRanks(Function):
    """Sum over ranks; what it contributes to the losses of all ranks flows back the same way."""

    @staticmethod
    def forward(ctx: FunctionCtx, data: Tensor) -> Tensor:
        total = data.clone()
        torch_dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, *grad_outputs: Any) -> Tensor:
        total = grad_outputs[0].clone()
        torch_dist.all_reduce(total)
        return total


class PortableSyncBatchNorm(_BatchNorm):
    """Batch norm whose statistics span all ranks, also on a CPU with gloo.

    ``torch.nn.SyncBatchNorm`` trains on accelerators only, and is faster there. Ranks may bring
    batches of different sizes. Statistics are computed in float32 for shorter types. Without a
    process group, and in evaluation, it is an ordinary batch norm.

    Source: Ioffe and Szegedy, Batch Normalization (ICML 2015), arXiv:1502.03167, with the samples
    of all ranks as the batch.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"PortableSyncBatchNorm: expected (N, C, ...), got {input.dim()}-d.")

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, ...)`` over all sizes but ``C``, and over all ranks.

        Raises:
            ValueError: If ``input`` has fewer than two dimensions.
        """
        uses_batch = self.training or self.running_mean is None
        if not uses_batch or get_world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        x_NCS = input.flatten(2) if input.dim() > 2 else input.unsqueeze(2)
        x_NCS = x_NCS if x_NCS.dtype is torch.float64 else x_NCS.float()
        count = x_NCS.new_tensor([x_NCS.shape[0] * x_NCS.shape[2]])
        sums = _SumOverRanks.apply(torch.cat([x_NCS.sum((0, 2)), count]))
        total = sums[-1].detach()
        mean_C = sums[:-1] / total
        centered_NCS = x_NCS - mean_C[:, None]
        # A second exchange: mean(x^2) - mean(x)^2 loses all digits when the mean is large.
        var_C = _SumOverRanks.apply(centered_NCS.square().sum((0, 2))) / total
        if self.training and self.track_running_stats:
            self._track(mean_C.detach(), var_C.detach(), total)
        y_NCS = centered_NCS * torch.rsqrt(var_C + self.eps)[:, None]
        if self.affine:
            y_NCS = y_NCS * self.weight[:, None] + self.bias[:, None]
        return y_NCS.to(input.dtype).view_as(input)

    @torch.no_grad()
    def _track(self, mean_C: Tensor, var_C: Tensor, total: Tensor) -> None:
        running: Any = self  # buffers, which torch declares as possibly absent
        running.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # a plain average over all batches
            momentum = 1.0 / float(running.num_batches_tracked)
        unbiased_C = var_C * (total / (total - 1).clamp(min=1))
        running.running_mean.lerp_(mean_C.to(running.running_mean.dtype), momentum)
        running.running_var.lerp_(unbiased_C.to(running.running_var.dtype), momentum)
