"""When gradients of several backward passes add up to one update, and by what to divide each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from drivetrain.dist import all_reduce, is_distributed
from drivetrain.optim._errors import OptimArgumentError, OptimTypeError


@dataclass(frozen=True)
class AccumulationPlan:
    """Divides a run of backward passes into groups; each group ends in one update.

    A group ends after every pass whose number is a multiple of ``counts``, and after pass
    ``max_counts``. So the last group of a run may be shorter, and so may the first one after
    a resume in the middle of a group. Each loss is divided by the true length of its group: the
    update equals the one that a single batch of all the group's samples would give.

    Args:
        counts: Backward passes per update.
        start: Passes that lie behind when the plan begins.
        max_counts: Passes of the whole run; ``-1`` where that is unknown.

    Raises:
        OptimTypeError: If ``counts`` is no integer.
        OptimArgumentError: If ``counts`` is below 1.
    """

    counts: int
    start: int = 0
    max_counts: int = -1

    def __post_init__(self) -> None:
        if isinstance(self.counts, bool) or not isinstance(self.counts, int):
            raise OptimTypeError(
                f"accumulative_counts must be an integer, got {type(self.counts).__name__}"
            )
        if self.counts < 1:
            raise OptimArgumentError(f"accumulative_counts must be at least 1, got {self.counts}")

    def ends_group(self, done: int) -> bool:
        """Tell whether the group is complete when ``done`` passes lie behind.

        Args:
            done: Finished backward passes, since the beginning of the run.
        """
        return done % self.counts == 0 or done == self.max_counts

    def group_length(self, done: int) -> int:
        """Return how many passes the group has that pass number ``done`` (from 0) belongs to."""
        first = done - done % self.counts
        last = first + self.counts
        if done < self.max_counts < last:
            last = self.max_counts
        elif first < self.max_counts <= done:
            first = self.max_counts
        return last - max(first, self.start)


class SampleWeights:
    """Makes an update the mean over samples, where passes and ranks have different numbers of them.

    Each pass is weighted by its number of samples; before the update the gradients are divided by
    the number in the group, averaged over the ranks as the gradients are.

    With ``n_k`` samples and the mean gradient ``g_k`` in pass ``k`` of any rank, the update sees
    ``sum(n_k * g_k) / sum(n_k)``: the mean over samples, written as a weighted mean of means.
    """

    def __init__(self) -> None:
        self.counted: int | Tensor = 0

    def add(self, num_samples: int | Tensor) -> None:
        """Count the samples of a pass.

        Args:
            num_samples: Samples of the pass on this rank; a scalar tensor where counting must not
                wait for the device.
        """
        self.counted = self.counted + num_samples

    def divide_gradients(self, optimizer: Optimizer) -> None:
        """Divide all gradients by the samples counted, and start counting anew.

        Args:
            optimizer: Whose gradients are changed in place; parameters without one are left out.
        """
        grads = [
            param.grad
            for group in optimizer.param_groups
            for param in group["params"]
            if param.grad is not None
        ]
        count, self.counted = self.counted, 0
        if not grads:
            return
        total = torch.as_tensor(count, dtype=torch.float32, device=grads[0].device)
        if is_distributed():
            total = total.clone()
            all_reduce(total, op="mean")
        torch._foreach_mul_(grads, 1 / total)
