"""Which of two scores is better: rules, and how a metric's name implies one."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, Literal

from drivetrain.runner._errors import MetricNotFoundError

Rule = Literal["greater", "less"]

GREATER_KEYS = ("acc", "top", "AR@", "auc", "precision", "mAP", "mDice", "mIoU", "mAcc", "aAcc")
LESS_KEYS = ("loss",)

_BETTER: dict[str, Callable[[float, float], bool]] = {"greater": operator.gt, "less": operator.lt}
_WORST = {"greater": -math.inf, "less": math.inf}


def infer_rule(
    key: str,
    greater_keys: Sequence[str] = GREATER_KEYS,
    less_keys: Sequence[str] = LESS_KEYS,
) -> Rule:
    """Whether more or less of ``key`` is better, by its name.

    A whole name decides before a part of one, and ``greater`` before ``less``; case does not count.

    Raises:
        ValueError: If the name says nothing; the remedy is to give a rule.
    """
    name = key.lower()
    tables: tuple[tuple[Rule, Sequence[str]], ...] = (
        ("greater", greater_keys),
        ("less", less_keys),
    )
    for rule, keys in tables:
        if name in {k.lower() for k in keys}:
            return rule
    for rule, keys in tables:
        if any(k.lower() in name for k in keys):
            return rule
    raise ValueError(
        f"cannot tell from the name {key!r} whether more or less is better; "
        f"give rule='greater' or rule='less'"
    )


class BestScore:
    """The best value of one metric so far.

    Args:
        key: Name of the metric, or ``"auto"`` for the first one that is reported.
        rule: ``"greater"``, ``"less"``, or None to infer it from the name.
        min_delta: A value counts as better only if it is better by more than this.
        greater_keys: Names, or parts of names, of which more is better.
        less_keys: Names, or parts of names, of which less is better.
    """

    def __init__(
        self,
        key: str,
        rule: Rule | None = None,
        *,
        min_delta: float = 0.0,
        greater_keys: Sequence[str] | None = None,
        less_keys: Sequence[str] | None = None,
    ) -> None:
        if rule is not None and rule not in _BETTER:
            raise ValueError(f"a rule is 'greater', 'less' or None, got {rule!r}")
        self.key = key
        self._given_rule = rule
        self._min_delta = min_delta
        self._greater_keys = tuple(greater_keys) if greater_keys is not None else GREATER_KEYS
        self._less_keys = tuple(less_keys) if less_keys is not None else LESS_KEYS
        self.rule: Rule | None = None
        self.value: float | None = None
        if key != "auto":
            self._settle_rule()

    def _settle_rule(self) -> None:
        self.rule = self._given_rule or infer_rule(self.key, self._greater_keys, self._less_keys)

    def read(self, metrics: dict[str, Any], where: str) -> float:
        """Value of this metric among ``metrics``.

        Raises:
            MetricNotFoundError: If it is not there; names what is.
        """
        if self.key == "auto":
            self.key = next(iter(metrics))
            self._settle_rule()
        if self.key not in metrics:
            near = get_close_matches(self.key, list(metrics), n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise MetricNotFoundError(
                f"{where}: the evaluator reports no metric {self.key!r}.{hint}\n"
                f"  Reported: {', '.join(map(repr, metrics))}"
            )
        return float(metrics[self.key])

    def is_better(self, value: float) -> bool:
        """Whether ``value`` beats the best so far; a value that is not a number never does."""
        assert self.rule is not None
        best = _WORST[self.rule] if self.value is None else self.value
        margin = self._min_delta if self.rule == "greater" else -self._min_delta
        # The gain against the margin, as the reference engine rounds it.
        return _BETTER[self.rule](value - best, margin)
