"""Statistics of any numbers: comparisons, change points, the online detector and its settings."""

from __future__ import annotations

from array import array
from math import isfinite, isnan

from nanospan.regression import OnlineDetector, change_points, compare

MOST = 400
"""The most numbers to take: statistics of many take longer than reading them."""


def target(data: bytes) -> None:
    """Numbers that are not finite give a ValueError; others, probabilities from 0 to 1."""
    split = data[0] if data else 0
    numbers = array("d", data[1 : 1 + 8 * min(MOST, (len(data) - 1) // 8)])
    for given in (numbers, array("d", filter(isfinite, numbers))):
        _compare(given[:split], given[split:], given)
    settings = [*numbers, 0.0, 0.0][:2]
    try:
        detector = OnlineDetector(
            warmup=8 + split, batch=1 + split // 16, k=settings[0], h=settings[1]
        )
    except ValueError:
        return
    for number in filter(isfinite, numbers):
        detector.update(number)


def _compare(before: array[float], after: array[float], both: array[float]) -> None:
    finite = all(map(isfinite, both))
    try:
        comparison = compare(before, after)
        changes = change_points(both)
    except ValueError:
        assert not finite
        return
    assert finite
    assert isnan(comparison.p_value) or 0 <= comparison.p_value <= 1
    assert all(0 <= change.p_value <= 1 for change in changes)
