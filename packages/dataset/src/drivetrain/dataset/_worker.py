"""What a worker process does before it loads its first sample."""

from __future__ import annotations

import random
import warnings

import numpy as np
import torch

from drivetrain.registry import FUNCTIONS


@FUNCTIONS.register_module()
def worker_init_fn(
    worker_id: int,
    num_workers: int,
    rank: int,
    seed: int,
    disable_subprocess_warning: bool = False,
) -> None:
    """Seed Python, NumPy and PyTorch of one worker, differently on every worker of every rank.

    Args:
        worker_id: In ``[0, num_workers)``.
        num_workers: Workers of this rank.
        rank: This process's rank; 0 without distribution.
        seed: The run's seed.
        disable_subprocess_warning: Whether to silence warnings in workers other than the first.
    """
    worker_seed = (num_workers * rank + worker_id + seed) % 2**32
    random.seed(worker_seed)
    np.random.seed(worker_seed)
    torch.manual_seed(worker_seed)
    if disable_subprocess_warning and worker_id != 0:
        warnings.simplefilter("ignore")
