"""Tensors whose numbers nobody has asked for yet.

A number that lives on a device costs a wait when it is read. So tensors stay tensors, and become
numbers all together: one stack, one transfer, however many series they belong to.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, device, dtype

_NAN = float("nan")

PlaceT = TypeVar("PlaceT")

PACK_AT = 1024  # tensors; one 0-d tensor pins at least 512 bytes of device memory, one packed 4
SETTLE_AT = 64 * PACK_AT  # tensors; one wait in 65,536 steps is the price of bounded memory


class Waiting:
    """The places in one series of numbers that still wait for their tensor.

    Args:
        series: Where the numbers go; it holds nan at the waiting places.
    """

    __slots__ = ("packed", "series", "singles")

    def __init__(self, series: array[float]) -> None:
        self.series = series
        self.singles: list[tuple[Tensor, int]] = []
        self.packed: list[
            tuple[Tensor, list[int]]
        ] = []  # 1-d tensors, and a place for each element

    def __bool__(self) -> bool:
        return bool(self.singles or self.packed)

    def add(self, tensor: Tensor) -> bool:
        """Append a place that waits for a 0-d tensor; say whether so many wait that it is time."""
        singles, series = self.singles, self.series
        singles.append((tensor, len(series)))
        series.append(_NAN)
        if len(singles) < PACK_AT:
            return False
        self.packed.extend(stack_by_kind(singles))
        self.singles = []
        return len(self.packed) * PACK_AT >= SETTLE_AT


def settle(waitings: Iterable[Waiting]) -> None:
    """Write the numbers of all waiting tensors into their series: one transfer per device."""
    vectors: list[tuple[Tensor, list[tuple[array[float], int]]]] = []
    singles: list[tuple[Tensor, tuple[array[float], int]]] = []
    for waiting in waitings:
        series = waiting.series
        vectors += [(vector, [(series, p) for p in places]) for vector, places in waiting.packed]
        singles += [(tensor, (series, place)) for tensor, place in waiting.singles]
        waiting.packed, waiting.singles = [], []
    vectors += stack_by_kind(singles)
    for numbers, targets in _numbers(vectors):
        for number, (series, place) in zip(numbers, targets, strict=True):
            series[place] = number


def stack_by_kind(singles: list[tuple[Tensor, PlaceT]]) -> list[tuple[Tensor, list[PlaceT]]]:
    """Stack the 0-d tensors of each device and dtype, without waiting for any."""
    if not singles:
        return []
    kinds: dict[tuple[device, dtype], tuple[list[Tensor], list[PlaceT]]] = {}
    for tensor, place in singles:
        tensors, places = kinds.setdefault((tensor.device, tensor.dtype), ([], []))
        tensors.append(tensor)
        places.append(place)
    torch = sys.modules["torch"]  # there are tensors, so it is there
    return [(torch.stack(tensors), places) for tensors, places in kinds.values()]


def _numbers(vectors: list[tuple[Tensor, PlaceT]]) -> Iterator[tuple[list[float], PlaceT]]:
    """Yield the numbers of each vector; those of one device arrive in one transfer."""
    by_device: dict[device, list[tuple[Tensor, PlaceT]]] = {}
    for vector, target in vectors:
        by_device.setdefault(vector.device, []).append((vector, target))
    for where, group in by_device.items():
        if len(group) == 1 or where.type == "mps":  # MPS has no float64 to bring dtypes together
            yield from ((vector.tolist(), target) for vector, target in group)
            continue
        torch = sys.modules["torch"]
        numbers = torch.cat([vector.double() for vector, _ in group]).tolist()
        start = 0
        for vector, target in group:
            yield numbers[start : start + len(vector)], target
            start += len(vector)
