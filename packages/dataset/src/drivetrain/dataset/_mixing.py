"""Well-mixed 64-bit keys out of small integers: neighbours in, unrelated numbers out.

Source: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), constants as published.
"""

from __future__ import annotations

MASK_64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
# A second odd constant (from xxHash64) keeps the two coordinates of a sample apart.
SECOND = 0xC2B2AE3D27D4EB4F


def finalize(value: int) -> int:
    """One round of SplitMix64: a bijection of 64-bit integers."""
    z = value & MASK_64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK_64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK_64
    return z ^ (z >> 31)


def mix(seed: int, *coordinates: int) -> int:
    """A 64-bit key for ``coordinates`` under ``seed``; the order of the coordinates matters."""
    key = finalize(seed + GOLDEN)
    for coordinate in coordinates:
        key = finalize(key + (coordinate + 1) * GOLDEN)
    return key
