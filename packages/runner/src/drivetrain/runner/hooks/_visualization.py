"""Showing predictions while testing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from drivetrain.registry import HOOKS
from drivetrain.runner.hooks._hook import Batch, Hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine


@HOOKS.register_module()
class NaiveVisualizationHook(Hook):
    """Hand every ``interval``-th test batch and its predictions to the visualizer.

    Each sample's image is its ``inputs``, a tensor ``(C, H, W)``; it is drawn as it went into the
    model.

    Args:
        interval: Batches between two drawings.
        draw_gt: Draw the annotation.
        draw_pred: Draw the prediction.
    """

    priority = "NORMAL"

    def __init__(self, interval: int = 1, draw_gt: bool = True, draw_pred: bool = True) -> None:
        if interval < 1:
            raise ValueError(
                f"NaiveVisualizationHook: interval is at least 1 batch, got {interval}"
            )
        self._interval = interval
        self.draw_gt = draw_gt
        self.draw_pred = draw_pred

    def after_test_iter(
        self,
        runner: Engine,
        batch_idx: int,
        data_batch: Batch = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Draw a batch if it is its turn."""
        if not self.every_n_inner_iters(batch_idx, self._interval) or data_batch is None:
            return
        batch: Any = data_batch
        for index, output in enumerate(outputs or ()):
            image = _to_image(batch["inputs"][index])
            name = getattr(output, "img_path", f"test_img_{batch_idx}_{index}")
            runner.visualizer.add_datasample(
                str(name),
                image,
                output,
                draw_gt=self.draw_gt,
                draw_pred=self.draw_pred,
                step=batch_idx,
            )


def _to_image(inputs: Any) -> np.ndarray:
    """``(H, W, C)`` array of an image that may be a tensor ``(C, H, W)``."""
    if isinstance(inputs, torch.Tensor):
        return inputs.detach().cpu().permute(1, 2, 0).numpy()
    return np.asarray(inputs)
