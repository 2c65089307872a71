"""Which of the names that exist was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LIMIT = 3


def nearest(word: str, names: Iterable[str], limit: int = _LIMIT) -> list[str]:
    """Return up to ``limit`` names that ``word`` may be a slip for, the likeliest first.

    Case, underscores and a missing or extra scope do not count as differences.
    """
    wanted = _plain(word)
    scored = []
    for name in dict.fromkeys(names):
        candidate = _plain(name)
        # Against the last part too: `ResNet` for `mmcls.ResNet`.
        score = max(_ratio(wanted, candidate), _ratio(_tail(word), _tail(name)) - 0.05)
        if score >= 0.65:
            scored.append((-score, name))
    return [name for _, name in sorted(scored)[:limit]]


def quoted(names: Iterable[str]) -> str:
    """Join names for a message: ``'a', 'b'``."""
    return ", ".join(repr(name) for name in names)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _tail(name: str) -> str:
    return _plain(name.rpartition(".")[2])


def _ratio(a: str, b: str) -> float:
    matcher = difflib.SequenceMatcher(None, a, b)
    # The quick bounds spare most pairs the quadratic comparison.
    if matcher.real_quick_ratio() < 0.6 or matcher.quick_ratio() < 0.6:
        return 0.0
    return matcher.ratio()
