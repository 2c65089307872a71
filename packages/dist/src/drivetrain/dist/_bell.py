"""By which the first rank that fails tells the others: they need not wait for it, nor speak."""

from __future__ import annotations

import json
from dataclasses import dataclass

from torch.distributed import Store

_FIRST = "first_failure"


@dataclass(frozen=True)
class Failure:
    """Which rank failed, and how, in one line."""

    rank: int
    text: str


class FailureBell:
    """Rung by each rank that fails; keeps who was first.

    Args:
        store: What all ranks see.
        rank: This rank.
    """

    def __init__(self, store: Store, rank: int) -> None:
        self._store = store
        self._rank = rank
        self._is_first: bool | None = None

    def ring(self, text: str) -> bool:
        """Tell that this rank failed; returns whether it was the first of all."""
        if self._is_first is None:
            try:
                # One step: whoever is told not to be the first can read who was.
                mine = json.dumps([self._rank, text])
                self._is_first = self._store.compare_set(_FIRST, "", mine) == mine.encode()
            except RuntimeError:  # the rank that kept the store has gone before
                self._is_first = False
        return self._is_first

    def first(self) -> Failure | None:
        """The first failure, if another rank told one."""
        try:
            if not self._store.check([_FIRST]):
                return None
            rank, text = json.loads(self._store.get(_FIRST))
        except RuntimeError:  # gone with the rank that kept it, which may have left in order
            return None
        return None if rank == self._rank else Failure(rank, text)


_bell: FailureBell | None = None


def hang_bell(bell: FailureBell | None) -> None:
    """Have a bell, or no longer."""
    global _bell
    _bell = bell


def ring(error: BaseException) -> bool:
    """Tell the other ranks of ``error``; returns whether nobody was before this rank."""
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    return True if _bell is None else _bell.ring(text)


def failed_first() -> Failure | None:
    """The failure of another rank that came before that of this one, as far as it told."""
    return None if _bell is None else _bell.first()
