"""Figures of a log line for all ranks together."""

from __future__ import annotations

from typing import Any

import torch

from drivetrain.dist import all_gather_object, all_reduce, get_rank, get_world_size


class RankMeans:
    """Averages the figures of a log line over the ranks, in one collective a line.

    Ranks may have different figures: each is averaged over those that have it. The ranks agree on
    the names when one of them has a new one, and otherwise exchange numbers only.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._has_memory = False

    def over_ranks(
        self, figures: dict[str, Any], memory_mb: int | None = None
    ) -> tuple[dict[str, Any], int | None]:
        """Average ``figures``; called on all ranks, at the same iteration.

        Args:
            figures: Of this rank; rates, the same everywhere, and what is no number stay as they
                are.
            memory_mb: Peak memory of this rank, if it has a device that counts it.

        Returns:
            The same on all ranks: the means, in the order of ``figures``, behind them those that
            only other ranks have; and the largest memory.
        """
        own = {
            name: value
            for name, value in figures.items()
            if isinstance(value, (int, float)) and not is_rate(name)
        }
        known = set(self._names)
        is_new = not known.issuperset(own) or (memory_mb is not None and not self._has_memory)
        new, sums, counts, memory = self._exchange(own, memory_mb, is_new)
        if new:
            self._agree(own, memory_mb)
            _, sums, counts, memory = self._exchange(own, memory_mb, False)
        means = {
            name: total / count
            for name, total, count in zip(self._names, sums, counts, strict=True)
            if count
        }
        rest = {name: value for name, value in means.items() if name not in figures}
        merged = {name: means.get(name, value) for name, value in figures.items()} | rest
        return merged, int(max(memory)) if self._has_memory else None

    def _agree(self, own: dict[str, Any], memory_mb: int | None) -> None:
        """Take over the names of all ranks."""
        offers = all_gather_object((list(own), memory_mb is not None))
        names = {name for names, _ in offers for name in names}
        self._names += sorted(names.difference(self._names))
        self._has_memory = any(has_memory for _, has_memory in offers)

    def _exchange(
        self, own: dict[str, Any], memory_mb: int | None, is_new: bool
    ) -> tuple[float, list[float], list[float], list[float]]:
        """Sums over ranks: of news, of the figures, of those who have them; memory by rank."""
        size = len(self._names)
        values = [float(own.get(name, 0.0)) for name in self._names]
        counts = [float(name in own) for name in self._names]
        memory = [0.0] * (get_world_size() if self._has_memory else 0)
        if memory:
            memory[get_rank()] = float(memory_mb or 0)
        shared = torch.tensor([float(is_new), *values, *counts, *memory], dtype=torch.float64)
        all_reduce(shared)
        new, *numbers = shared.tolist()
        return new, numbers[:size], numbers[size : 2 * size], numbers[2 * size :]


def is_rate(name: str) -> bool:
    """Whether a figure is a learning rate, by its name."""
    return "lr" in name.rsplit("/", 1)[-1]
