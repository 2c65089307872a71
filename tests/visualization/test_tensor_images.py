"""Images out of batches of tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drivetrain.visualization import DrawingError, tensor2imgs


def test_normalization_is_undone_and_channels_are_turned() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 5)).float()
    mean, std = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)
    shaped = [torch.tensor(values).view(3, 1, 1) for values in (mean, std)]
    batch = (images - shaped[0]) / shaped[1]
    for image, expected in zip(tensor2imgs(batch, mean, std), images, strict=True):
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, expected.flip(0).permute(1, 2, 0).numpy())


def test_gray_images_have_no_channels() -> None:
    batch = torch.tensor([[[[1.0, 300.0], [-5.0, 7.9]]]])
    assert tensor2imgs(batch, to_bgr=False)[0].tolist() == [[1, 255], [0, 7]]


@pytest.mark.parametrize(
    ("shape", "arguments", "text"),
    [
        ((3, 4, 5), {}, r"got \(3, 4, 5\)"),
        ((1, 2, 4, 5), {}, r"got \(1, 2, 4, 5\)"),
        ((1, 3, 4, 5), {"mean": (0,)}, "3 channels need"),
        ((1, 1, 4, 5), {}, "to_bgr=False"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(shape, arguments, text) -> None:
    with pytest.raises(DrawingError, match=text):
        tensor2imgs(torch.zeros(shape), **arguments)
