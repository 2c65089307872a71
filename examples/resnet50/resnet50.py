"""ResNet-50, and images that are made on the spot, to see how fast a device trains.

Source: He et al., Deep Residual Learning for Image Recognition (CVPR 2016); with the stride in
the 3 x 3 convolution, as torchvision and most since then have it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from drivetrain.model import BaseModel
from drivetrain.registry import DATASETS, MODELS

STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))  # blocks, width, stride of the first
EXPANSION = 4


def conv_norm(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the picture's size (but for ``stride``), and its norm."""
    conv = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Bottleneck(nn.Module):
    """Narrow, look around, widen; added to the input."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.narrow = conv_norm(inputs, width, 1)
        self.look = conv_norm(width, width, 3, stride)
        self.widen = conv_norm(width, outputs, 1)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out = F.relu(self.narrow(x_BCHW))
        out = F.relu(self.look(out))
        return F.relu(self.widen(out) + self.shortcut(x_BCHW))


@MODELS.register_module()
class ResNet50(BaseModel):
    """The classifier of 25.6 million parameters.

    Args:
        num_classes: Number of classes.
    """

    def __init__(self, num_classes: int = 1000, **kwargs) -> None:
        super().__init__(**kwargs)
        self.stem = conv_norm(3, 64, 7, 2)
        blocks, inputs = [], 64
        for count, width, stride in STAGES:
            for index in range(count):
                blocks.append(Bottleneck(inputs, width, stride if index == 0 else 1))
                inputs = width * EXPANSION
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, num_classes)

    def forward(self, inputs: Tensor, label: Tensor | None = None, mode: str = "tensor"):
        x_BCHW = F.max_pool2d(F.relu(self.stem(inputs)), 3, stride=2, padding=1)
        logits = self.head(self.blocks(x_BCHW).mean(dim=(2, 3)))
        if mode == "loss":
            return {"loss": F.cross_entropy(logits, label)}
        return logits.argmax(dim=1) if mode == "predict" else logits


@DATASETS.register_module()
class NoiseImages(torch.utils.data.Dataset):
    """Images of noise with labels, the same each time: a device works as hard on them.

    Args:
        num_images: How many.
        size: Pixels of a side.
        num_classes: How many labels there are.
    """

    def __init__(self, num_images: int, size: int = 224, num_classes: int = 1000) -> None:
        self.num_images, self.size, self.num_classes = num_images, size, num_classes

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(3, self.size, self.size, generator=generator)
        return {"inputs": image, "label": torch.tensor(index % self.num_classes)}
