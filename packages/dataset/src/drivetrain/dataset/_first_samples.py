"""The first samples of a dataset, for short epochs."""

from __future__ import annotations

from typing import Any


class FirstSamples:
    """The first ``size`` samples of ``dataset``; every other attribute is the dataset's own.

    Args:
        dataset: Any map-style dataset.
        size: Upper bound of the length.
    """

    def __init__(self, dataset: Any, size: int) -> None:
        self._dataset = dataset
        self._size = min(size, len(dataset))

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Any:
        if not -self._size <= index < self._size:
            raise IndexError(f"sample {index} is out of range: this epoch has {self._size} samples")
        return self._dataset[index % self._size]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_dataset":  # while unpickling there is no dataset yet
            raise AttributeError(name)
        return getattr(self._dataset, name)
