"""How large a change must be to matter, unless the user says otherwise."""

from __future__ import annotations

MIN_EFFECT = 0.03
"""The least change of the median that counts, as a share of it."""

TAIL_MIN_EFFECT = 0.10
"""The least change of a tail quantile that counts, as a share of it: tails vary more."""


def tail_min_effect(min_effect: float) -> float:
    """Return the least change of a tail quantile that counts beside one of the median.

    Whoever lets the median change by a half does not want to hear of a tenth in the tails.
    """
    return max(min_effect, TAIL_MIN_EFFECT)
