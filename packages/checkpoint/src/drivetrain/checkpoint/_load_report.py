"""Which weights did not fit, in a form that one can read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

_MAX_SHOWN = 20


class ShapeMismatch(NamedTuple):
    """A weight whose shape in the checkpoint is not the one in the model."""

    name: str
    checkpoint_shape: tuple[int, ...]
    model_shape: tuple[int, ...]


@dataclass(frozen=True)
class LoadReport:
    """What became of the weights of a checkpoint.

    Attributes:
        loaded: How many weights of the model were set.
        missing: Names in the model that the checkpoint lacks.
        unexpected: Names in the checkpoint that the model lacks.
        mismatched: Names in both, with different shapes.
        other: What layers said when they refused their weights for other reasons.
    """

    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[ShapeMismatch, ...] = ()
    other: tuple[str, ...] = field(default=())

    @property
    def fits(self) -> bool:
        """Whether model and checkpoint have the same weights."""
        return not (self.missing or self.unexpected or self.mismatched or self.other)

    def __str__(self) -> str:
        if self.fits:
            return f"all {self.loaded} weights fit"
        lines = [
            f"the weights do not all fit: {self.loaded} loaded, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.mismatched)} of another shape"
        ]
        lines += _section("Missing in the checkpoint; the model keeps its values:", self.missing)
        lines += _section("Unexpected; the model has no such names:", self.unexpected)
        lines += _section("Of another shape; the model keeps its values:", self._shape_rows())
        lines += _section("Refused by a layer:", self.other)
        return "\n".join(lines + self._hint())

    def _shape_rows(self) -> tuple[str, ...]:
        if not self.mismatched:
            return ()
        rows = [("", "in checkpoint", "in model")]
        rows += [
            (m.name, str(m.checkpoint_shape), str(m.model_shape))
            for m in self.mismatched[:_MAX_SHOWN]
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        shown = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows]
        return (*shown, *(m.name for m in self.mismatched[_MAX_SHOWN:]))

    def _hint(self) -> list[str]:
        """Suggest ``revise_keys`` when one prefix makes the difference."""
        extra = _common_prefix(self.unexpected, self.missing)
        if extra:
            return [f'  Try:  revise_keys=[(r"^{re.escape(extra)}", "")]']
        lacking = _common_prefix(self.missing, self.unexpected)
        if lacking:
            return [f'  Try:  revise_keys=[(r"^", "{lacking}")]']
        return []


def _section(title: str, names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    lines = [f"  {title}", *(f"    {name}" for name in names[:_MAX_SHOWN])]
    if len(names) > _MAX_SHOWN:
        lines.append(f"    … and {len(names) - _MAX_SHOWN} more")
    return lines


def _common_prefix(longer: tuple[str, ...], shorter: tuple[str, ...]) -> str:
    """Return what must be cut from most of the longer names to get names of the shorter ones."""
    wanted = set(shorter)
    if not longer or not wanted:
        return ""
    first = longer[0]
    for cut in (position + 1 for position, letter in enumerate(first) if letter == "."):
        if first[cut:] in wanted:
            prefix = first[:cut]
            hits = sum(n.startswith(prefix) and n[cut:] in wanted for n in longer)
            return prefix if hits * 2 > len(longer) else ""
    return ""
