"""From a batch of tensors to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from drivetrain.visualization._errors import DrawingError


def tensor2imgs(
    tensor: Any,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    to_bgr: bool = True,
) -> list[np.ndarray]:
    """Undo the normalization of a batch, and give its images.

    Args:
        tensor: ``(N, C, H, W)``; C is 3 (RGB) or 1 (gray).
        mean: What was subtracted from each channel; 0 by default.
        std: By what each channel was divided; 1 by default.
        to_bgr: Give images of three channels as BGR; for gray ones it must be False.

    Returns:
        ``(H, W, 3)`` uint8 images, or ``(H, W)`` for gray ones; values beyond 0 and 255 are cut.

    Raises:
        DrawingError: If shapes and arguments do not fit together.
    """
    if getattr(tensor, "ndim", 0) != 4 or tensor.shape[1] not in (1, 3):
        shape = tuple(getattr(tensor, "shape", ()))
        raise DrawingError(f"tensor2imgs: tensor is (N, 3, H, W) or (N, 1, H, W), got {shape}")
    channels = tensor.shape[1]
    mean = (0.0,) * channels if mean is None else tuple(mean)
    std = (1.0,) * channels if std is None else tuple(std)
    if not len(mean) == len(std) == channels:
        raise DrawingError(
            f"tensor2imgs: {channels} channels need as many of mean and std, "
            f"got {len(mean)} and {len(std)}"
        )
    if channels == 1 and to_bgr:
        raise DrawingError("tensor2imgs: gray images have no BGR; give to_bgr=False")
    images = tensor.detach().cpu().float().numpy().transpose(0, 2, 3, 1)
    images = (images * np.asarray(std, np.float32) + np.asarray(mean, np.float32)).clip(0, 255)
    images = images.astype(np.uint8)
    if channels == 1:
        return [np.ascontiguousarray(image[..., 0]) for image in images]
    return [np.ascontiguousarray(image[..., ::-1] if to_bgr else image) for image in images]
