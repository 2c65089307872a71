"""What this torch is, and what it is doing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Version of torch; compares with strings, tuples and versions.
TORCH_VERSION = torch.__version__


def is_rocm_pytorch() -> bool:
    """Whether this torch was built for AMD's ROCm."""
    return torch.version.hip is not None


def is_jit_tracing() -> bool:
    """Whether ``torch.jit.trace`` runs right now."""
    return torch.jit.is_tracing()


def torch_meshgrid(*tensors: Tensor) -> Sequence[Tensor]:
    """``torch.meshgrid`` with the indexing of matrices (``"ij"``)."""
    return torch.meshgrid(*tensors, indexing="ij")
