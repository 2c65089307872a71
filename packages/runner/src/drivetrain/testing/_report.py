"""What a proof found, as data and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

_SHOWN = 6


@dataclass(frozen=True)
class Finding:
    """Something that two trainings should have had in common, and did not.

    Attributes:
        part: Which part of a training: ``"weights"``, ``"optimizer"``, ``"schedules"``, ``"random
            state"``, ``"state of hooks"``, ``"log history"``, ``"sample order"``, ``"samples"``,
            ``"outputs"``, ``"metrics"`` or ``"records"``.
        name: Which one of it, such as the name of a weight.
        expected: What the uninterrupted training had there.
        found: What the other one had.
        rank: Rank that saw it.
    """

    part: str
    name: str
    expected: str
    found: str
    rank: int = 0

    def __str__(self) -> str:
        return f"{self.name}: {self.expected} became {self.found}"


@dataclass(frozen=True)
class Comparison:
    """Two trainings that should be equal.

    Attributes:
        title: What the second one is.
        step: First step (from 1 on) in which they differ; None if they do not.
        findings: What differs there.
        suspects: Attributes of the user's objects that differ there too, and are not part of what
            a checkpoint holds: they may be the reason.
    """

    title: str
    step: int | None = None
    findings: list[Finding] = field(default_factory=list)
    suspects: list[Finding] = field(default_factory=list)

    def lines(self) -> list[str]:
        """A few lines for a person."""
        if self.step is None:
            return [f"  equal    {self.title}"]
        lines = [f"  DIFFERS  {self.title}: first in step {self.step}"]
        for part in dict.fromkeys(finding.part for finding in self.findings):
            ones = [finding for finding in self.findings if finding.part == part]
            lines.append(f"             {part} ({len(ones)})")
            lines += [f"               {one}" for one in ones[:_SHOWN]]
            if len(ones) > _SHOWN:
                lines.append(f"               and {len(ones) - _SHOWN} more")
        return lines


@dataclass(frozen=True)
class ResumeReport:
    """Whether a training that is killed and resumed is the one that was never killed.

    Attributes:
        config: The config.
        steps: Steps that were compared, from the first on.
        kill_at: Steps after which a training was saved, and then killed.
        comparisons: The repeated training first, then one for each kill.
    """

    config: str
    steps: int
    kill_at: list[int]
    comparisons: list[Comparison]

    @property
    def is_exact(self) -> bool:
        """Whether all trainings were equal."""
        return all(comparison.step is None for comparison in self.comparisons)

    @property
    def is_repeatable(self) -> bool:
        """Whether the training gives the same twice when nothing interrupts it."""
        return self.comparisons[0].step is None

    def __str__(self) -> str:
        verdict = "Resume is exact" if self.is_exact else "Resume is NOT exact"
        if not self.is_repeatable:
            verdict = "The training itself is NOT repeatable, so no resume of it can be exact"
        lines = [f"{verdict}: {self.config}, {self.steps} steps."]
        for comparison in self.comparisons:
            lines += comparison.lines()
        return "\n".join([*lines, *self._advice()])

    def _advice(self) -> list[str]:
        if self.is_exact:
            return []
        wrong = next(c for c in self.comparisons if c.step is not None)
        lines = []
        if wrong.suspects:
            lines += ["", "What differs besides, and is in no checkpoint:"]
            lines += [f"  {suspect}" for suspect in wrong.suspects[:_SHOWN]]
            lines.append(
                "  A hook keeps its state if it has state_dict() and load_state_dict(); a model in "
                "buffers;\n  a dataset best has none."
            )
        parts = {finding.part for finding in wrong.findings}
        if "samples" in parts and "sample order" not in parts:
            lines += [
                "",
                "The same samples were chosen, and have other contents: the dataset, a transform or"
                "\n  collate_fn draws from the clock or from a generator of its own. Draw from the "
                "global generators, which\n  are seeded for each sample, or seed yours with "
                "drivetrain.dataset.sample_seed().",
            ]
        elif "sample order" in parts:
            lines += [
                "",
                "Other samples were chosen: the sampler keeps a state of its own. Let its order "
                "depend on a seed\n  and the epoch, as DefaultSampler does.",
            ]
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ResumeReport:
        """The report that ``to_dict`` was called on."""
        comparisons = [
            Comparison(
                one["title"],
                one["step"],
                [Finding(**finding) for finding in one["findings"]],
                [Finding(**finding) for finding in one["suspects"]],
            )
            for one in data["comparisons"]
        ]
        return cls(data["config"], data["steps"], data["kill_at"], comparisons)
