"""Tensors whose numbers nobody has asked for yet.

A number that lives on a device costs a wait when it is read. So tensors stay tensors, and become
numbers all together: one stack, one transfer, however many series they belong to.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, device, dtype

_NAN = float("nan")

PlaceT = TypeVar("PlaceT")

PACK_AT = 1024  # tensors; one 0-d tensor pins at least 512 bytes of device memory, one packed 4
UNCOUNTED = -1
SETTLE_AT = 64 * PACK_AT  # tensors; one wait in 65,536 steps is the price of bounded memory


class Waiting:
    """The places in one series of numbers that still wait for their tensor.

    Args:
        series: Where the numbers go; it holds nan at the waiting places.
    """

    __slots__ = ("overwritten", "packed", "series", "singles")

    def __init__(self, series: array[float]) -> None:
        self.series = series
        self.singles: list[tuple[Tensor, int, int]] = []  # a 0-d tensor, its version, its place
        self.packed: list[
            tuple[Tensor, list[int]]
        ] = []  # 1-d tensors, and a place for each element
        self.overwritten = 0  # tensors whose numbers are not those that were logged

    def __bool__(self) -> bool:
        return bool(self.singles or self.packed)

    def add(self, tensor: Tensor) -> bool:
        """Append a place that waits for a 0-d tensor; say whether so many wait that it is time."""
        singles, series = self.singles, self.series
        try:
            singles.append((tensor, tensor._version, len(series)))
        except RuntimeError:  # made in inference mode: such tensors count no versions
            singles.append((tensor, UNCOUNTED, len(series)))
        series.append(_NAN)
        if len(singles) < PACK_AT:
            return False
        self.packed.extend(stack_by_kind(self.take_singles()))
        return len(self.packed) * PACK_AT >= SETTLE_AT

    def take_singles(self) -> list[tuple[Tensor, int]]:
        """Hand out the 0-d tensors with their places, counting those changed since they came."""
        taken, self.singles = self.singles, []
        self.overwritten += sum(
            version != UNCOUNTED and tensor._version != version for tensor, version, _ in taken
        )
        return [(tensor, place) for tensor, _, place in taken]

    def take_packed(self) -> list[tuple[Tensor, list[int]]]:
        """Hand out the 1-d tensors with the places of their elements."""
        taken, self.packed = self.packed, []
        return taken


def settle(waitings: Sequence[Waiting]) -> None:
    """Write the numbers of all waiting tensors into their series: one transfer per device."""
    packed = [(w.series, vector, places) for w in waitings for vector, places in w.take_packed()]
    singles = [(tensor, (w.series, place)) for w in waitings for tensor, place in w.take_singles()]
    stacked = stack_by_kind(singles)
    vectors = [vector for _, vector, _ in packed] + [vector for vector, _ in stacked]
    numbers = _numbers(vectors)
    for (series, _, places), values in zip(packed, numbers, strict=False):
        for place, value in zip(places, values, strict=True):
            series[place] = value
    for (_, targets), values in zip(stacked, numbers[len(packed) :], strict=True):
        for (series, place), value in zip(targets, values, strict=True):
            series[place] = value


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


def _numbers(vectors: list[Tensor]) -> list[list[float]]:
    """Return the numbers of each vector; those of one device come in one transfer."""
    by_device: dict[device, list[int]] = {}
    for i, vector in enumerate(vectors):
        by_device.setdefault(vector.device, []).append(i)
    numbers: list[list[float]] = [[]] * len(vectors)
    for where, chosen in by_device.items():
        if len(chosen) == 1 or where.type == "mps":  # MPS has no float64 to bring dtypes together
            for i in chosen:
                numbers[i] = vectors[i].tolist()
            continue
        torch = sys.modules["torch"]
        joined = torch.cat([vectors[i].double() for i in chosen]).tolist()
        start = 0
        for i in chosen:
            numbers[i] = joined[start : start + len(vectors[i])]
            start += len(vectors[i])
    return numbers
