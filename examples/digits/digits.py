"""What the digits example adds to the engine: dataset, augmentation, network, metric, hook."""

from __future__ import annotations

import gzip
import math
import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from drivetrain.dataset import BaseDataset
from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel
from drivetrain.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS
from drivetrain.runner.hooks import Hook
from drivetrain.visualization import image_grid

CLASSES = tuple(str(digit) for digit in range(10))


def read_digits() -> np.ndarray:
    """``(1797, 65)`` numbers: 64 pixels from 0 to 16, row by row, and the digit.

    The file lies inside scikit-learn (UCI ML hand-written digits). Reading it here, instead of
    calling ``load_digits``, saves importing scikit-learn and SciPy.
    """
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(
            "the digits come with scikit-learn, which is not installed: pip install scikit-learn"
        )
    file = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    with gzip.open(file, "rt") as lines:
        return np.array([line.split(",") for line in lines], dtype=np.float32)


@DATASETS.register_module()
class DigitsDataset(BaseDataset):
    """Images ``(1, 8, 8)`` float32 from 0 to 16, and their digits, split by a fixed seed.

    Args:
        split: ``"train"`` (1257 images), ``"val"`` (180) or ``"test"`` (360).
        **kwargs: Arguments of ``BaseDataset``, such as ``pipeline``.
    """

    METAINFO = {"classes": CLASSES}

    def __init__(self, split: str, **kwargs) -> None:
        if split not in ("train", "val", "test"):
            raise ValueError(f"DigitsDataset: split is 'train', 'val' or 'test', got {split!r}")
        self.split = split
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        rows = read_digits()
        order = np.random.default_rng(2024).permutation(len(rows))
        start, stop = {"train": (540, None), "val": (360, 540), "test": (0, 360)}[self.split]
        return [
            {"inputs": torch.from_numpy(rows[i, :64].reshape(1, 8, 8)), "label": int(rows[i, 64])}
            for i in order[start:stop]
        ]


@TRANSFORMS.register_module()
class RandomAffine:
    """Turn, shift and scale an image a little.

    Args:
        degrees: Largest rotation to either side.
        translate: Largest shift along each axis, in pixels.
        scale: Largest relative change of size.
    """

    def __init__(self, degrees: float, translate: float, scale: float) -> None:
        self.radians = math.radians(degrees)
        self.translate = translate
        self.scale = scale

    def __call__(self, sample: dict) -> dict:
        image = sample["inputs"]
        angle = random.uniform(-self.radians, self.radians)
        size = 1.0 + random.uniform(-self.scale, self.scale)
        shift = 2.0 * self.translate / image.shape[-1]  # the grid spans 2 units
        cos, sin = math.cos(angle) / size, math.sin(angle) / size
        matrix = torch.tensor(
            [
                [cos, -sin, random.uniform(-shift, shift)],
                [sin, cos, random.uniform(-shift, shift)],
            ]
        )
        grid = F.affine_grid(matrix[None], [1, *image.shape], align_corners=False)
        sample["inputs"] = F.grid_sample(image[None], grid, align_corners=False)[0]
        return sample


@MODELS.register_module()
class DigitsNet(BaseModel):
    """Four convolutions and one linear layer.

    Args:
        width: Channels of the first convolution; the later ones have twice as many.
        dropout: Share of the features that are dropped in training.
        data_preprocessor: Config of the preprocessor, which normalizes the images.
    """

    def __init__(
        self, width: int = 32, dropout: float = 0.2, data_preprocessor: dict | None = None
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.features = nn.Sequential(
            _conv(1, width),
            _conv(width, width),
            nn.MaxPool2d(2),
            _conv(width, 2 * width),
            _conv(2 * width, 2 * width),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(2 * width * 4, len(CLASSES))
        )

    def forward(self, inputs: torch.Tensor, label: torch.Tensor, mode: str = "tensor", **kwargs):
        logits = self.classifier(self.features(inputs))
        if mode == "loss":
            return {"loss": F.cross_entropy(logits, label, label_smoothing=0.05)}
        if mode == "predict":
            return logits.log_softmax(dim=1)
        return logits


def _conv(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


@METRICS.register_module()
class DigitScores(BaseMetric):
    """Share of the digits that were recognized, and mean negative log-likelihood of the true ones.

    The first is what one wants to know; the second tells apart models that make equally many
    mistakes.
    """

    def process(self, data_batch: dict, data_samples: list[torch.Tensor]) -> None:
        for log_probs, label in zip(data_samples, data_batch["label"].tolist(), strict=True):
            self.results.append((int(log_probs.argmax()) == label, -float(log_probs[label])))

    def compute_metrics(self, results: list[tuple[bool, float]]) -> dict[str, float]:
        hits, nll = zip(*results, strict=True)
        return {"accuracy": sum(hits) / len(hits), "nll": sum(nll) / len(nll)}


@HOOKS.register_module()
class MisclassifiedHook(Hook):
    """After a test, draw the digits that were taken for others into ``misclassified.png``.

    Where they are few, the ones that were recognized least surely fill the picture.

    Args:
        number: How many digits to draw.
    """

    def __init__(self, number: int = 18) -> None:
        self.number = number

    def before_test_epoch(self, runner) -> None:
        self._drawn: list[tuple[float, torch.Tensor, str]] = []

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        probs = outputs.exp().cpu()
        for image, label, prob in zip(
            data_batch["inputs"], data_batch["label"].tolist(), probs, strict=True
        ):
            guess, sure = int(prob.argmax()), float(prob[label])
            title = f"{label} taken for {guess}" if guess != label else f"{label}, {sure:.0%} sure"
            # Mistakes before all others, and among each kind the least sure first.
            self._drawn.append((sure + (guess == label), image, title))
        self._drawn = sorted(self._drawn, key=lambda drawn: drawn[0])[: self.number]

    def after_test_epoch(self, runner, metrics=None) -> None:
        if runner.rank == 0:
            _, images, titles = zip(*self._drawn, strict=True)
            image_grid(images, titles, out=Path(runner.log_dir, "misclassified.png"))
