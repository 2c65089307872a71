"""Images: channel order, normalization, padding, batching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from drivetrain.model._data_preprocessor import BaseDataPreprocessor
from drivetrain.model._errors import BatchError, ModelArgumentError, nearest
from drivetrain.model._stack_batch import round_up, stack_batch
from drivetrain.registry import MODELS


@MODELS.register_module()
class ImgDataPreprocessor(BaseDataPreprocessor):
    """Normalizes, pads and batches images on the model's device.

    Images travel as they were loaded, usually bytes, and become floating point on the device.

    Args:
        mean: Mean of each of 3 channels, or one for all, in the order after conversion. ``None``
            together with ``std``: no normalization.
        std: Standard deviation, likewise.
        pad_size_divisor: Height and width are padded, right and bottom, to multiples of it.
        pad_value: Fills the padding; in normalized units.
        bgr_to_rgb: Reverse the 3 channels.
        rgb_to_bgr: The same, for images in the other order.
        non_blocking: Copy from pinned memory without waiting.

    Raises:
        ModelArgumentError: If only one of ``mean`` and ``std`` is given, they have neither 1 nor 3
            values, or both conversions are asked for.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        pad_size_divisor: int = 1,
        pad_value: float = 0,
        bgr_to_rgb: bool = False,
        rgb_to_bgr: bool = False,
        non_blocking: bool | None = False,
    ) -> None:
        super().__init__(non_blocking)
        if bgr_to_rgb and rgb_to_bgr:
            raise ModelArgumentError(
                "ImgDataPreprocessor: bgr_to_rgb and rgb_to_bgr exclude each other"
            )
        if (mean is None) != (std is None):
            raise ModelArgumentError("ImgDataPreprocessor: give both mean and std, or neither")
        if pad_size_divisor < 1:
            raise ModelArgumentError(
                f"ImgDataPreprocessor: pad_size_divisor must be >= 1, got {pad_size_divisor}"
            )
        self._enable_normalize = mean is not None
        for name, values in (("mean", mean), ("std", std)):
            if values is None:
                continue
            if len(values) not in (1, 3):
                raise ModelArgumentError(
                    f"ImgDataPreprocessor: {name} must have 1 or 3 values, got {len(values)}"
                )
            if name == "std" and not all(value > 0 for value in values):
                raise ModelArgumentError(
                    f"ImgDataPreprocessor: images are divided by std, so it must be positive; "
                    f"got {list(values)}"
                )
            tensor = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)
        self._channel_conversion = bgr_to_rgb or rgb_to_bgr
        self.pad_size_divisor = pad_size_divisor
        self.pad_value = pad_value

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Return ``data`` with ``inputs`` as one normalized, padded batch.

        Args:
            data: A dict with ``inputs``: a list of images ``(C, H, W)`` of any sizes, or a batch
                ``(N, C, H, W)``.
            training: Unused here; for subclasses.

        Returns:
            A dict with ``inputs`` ``(N, C, H', W')``, and ``data_samples``, which is ``None`` where
            the loader gave none.

        Raises:
            BatchError: If ``inputs`` is missing or of another shape or type.
        """
        if not isinstance(data, dict) or "inputs" not in data:
            keys = list(map(str, data)) if isinstance(data, dict) else [type(data).__name__]
            raise BatchError(
                "ImgDataPreprocessor: a batch must be a dict with 'inputs', "
                f"got {', '.join(keys)}.{nearest('inputs', keys)}"
            )
        data = self.cast_data(data)
        inputs = data["inputs"]
        if isinstance(inputs, Tensor):
            data["inputs"] = self._pad(self._convert(inputs, ndim=4))
        elif isinstance(inputs, list | tuple) and all(isinstance(img, Tensor) for img in inputs):
            images = [self._convert(image, ndim=3) for image in inputs]
            data["inputs"] = stack_batch(images, self.pad_size_divisor, self.pad_value)
        else:
            raise BatchError(
                "ImgDataPreprocessor: 'inputs' must be a tensor (N, C, H, W) or a list of tensors "
                f"(C, H, W), got {type(inputs).__name__}"
            )
        data.setdefault("data_samples", None)
        return data

    def _convert(self, image: Tensor, ndim: int) -> Tensor:
        """Reverse the channels of ``(..., C, H, W)``, make it floating point, and normalize."""
        if image.ndim != ndim:
            layout = "(N, C, H, W)" if ndim == 4 else "(C, H, W)"
            raise BatchError(
                f"ImgDataPreprocessor: an image must have shape {layout}, got {tuple(image.shape)}"
            )
        channels = image.shape[-3]
        three = self._channel_conversion or (self._enable_normalize and self.mean.shape[0] == 3)
        if three and channels != 3:
            raise BatchError(
                "ImgDataPreprocessor: mean and std of 3 values, and a reversal of channels, need "
                f"images with 3 channels, got {channels}"
            )
        if self._channel_conversion:
            image = image.flip(-3)  # before the conversion: bytes are cheaper to move
        image = image.to(self._dtype or torch.float32)
        return (image - self.mean) / self.std if self._enable_normalize else image

    def _pad(self, batch: Tensor) -> Tensor:
        height, width = batch.shape[-2:]
        below = round_up(height, self.pad_size_divisor) - height
        right = round_up(width, self.pad_size_divisor) - width
        if not below and not right:
            return batch
        return F.pad(batch, (0, right, 0, below), "constant", self.pad_value)
