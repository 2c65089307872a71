"""How far a training is, as one value that a checkpoint carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """Position of a training loop at a step border.

    Attributes:
        epoch: Finished epochs (of an iteration loop: finished passes over a finite loader).
        iter: Finished iterations since the start of the run, on each rank.
        batch_in_epoch: Batches already taken from the current epoch.
        validated_at: Value of ``iter`` when the last validation finished; -1 before the first.
            A run that dies between an epoch's checkpoint and its validation makes up for it.
        loader: What else this rank's loader needs to be opened here; see ``open_epoch``.
    """

    epoch: int = 0
    iter: int = 0
    batch_in_epoch: int = 0
    validated_at: int = -1
    loader: dict[str, Any] | None = field(default=None, compare=False, repr=False)

    def state_dict(self) -> dict[str, Any]:
        """The counts, as they stand in a checkpoint; ``loader`` differs between ranks."""
        return {name: value for name, value in vars(self).items() if name != "loader"}

    @classmethod
    def from_checkpoint(cls, checkpoint: dict[str, Any]) -> Progress:
        """Read the position from a checkpoint, if need be from ``meta.epoch`` and ``meta.iter``."""
        if "progress" in checkpoint:
            saved = checkpoint["progress"]
            return cls(**{key: saved[key] for key in cls.__dataclass_fields__ if key in saved})
        meta = checkpoint.get("meta", {})
        return cls(epoch=int(meta.get("epoch", 0)), iter=int(meta.get("iter", 0)))
