"""How large a change must be to matter, and how often chance may be mistaken for one."""

from __future__ import annotations

FDR = 0.05
"""The expected share of false positives among the reported changes of many operations."""

ALPHA = 0.01
"""The probability of reporting a change of one operation where nothing differs."""

MIN_EFFECT = 0.03
"""The least change of the median that counts, as a share of it."""

TAIL_MIN_EFFECT = 0.10
"""The least change of a tail quantile that counts, as a share of it: tails vary more."""


def tail_min_effect_beside(min_effect: float) -> float:
    """Return the least change of a tail quantile that counts beside ``min_effect`` for the median.

    Tolerating 50 % in the median implies as much in the tail.
    """
    return max(min_effect, TAIL_MIN_EFFECT)
