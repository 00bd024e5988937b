"""Convert a histogram's buckets to bars for a chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanospan._core import Snapshot

MOST_BARS = 64
"""Maximum number of bars, including empty ones, that fit next to each other on a chart."""

FINEST_SCALE = 4
"""Scale of the finest histogram to draw: it has 16 bars per doubling of the duration.

Finer bars would show random variation rather than the shape of the distribution.
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart that shows the distribution of durations.

    Attributes:
        low: The bar's lower bound in seconds, exclusive.
        high: The bar's upper bound in seconds, inclusive.
        count: The number of durations between the bounds.
    """

    low: float
    high: float
    count: int


def bars_of(histogram: Snapshot) -> list[Bar]:
    """Return a histogram's bars in ascending order, at the finest scale that fits on a chart.

    Empty buckets get no bar. Durations of exactly 0 are drawn as 1 ns.
    """
    scale = min(histogram.scale, FINEST_SCALE)
    buckets = histogram.at_scale(scale).buckets()
    while buckets and buckets[-1][0] - buckets[0][0] >= MOST_BARS and scale > -10:  # noqa: PLR2004
        scale -= 1
        buckets = histogram.at_scale(scale).buckets()
    base = 2.0 ** (2.0**-scale)
    bars = [Bar(base**index, base ** (index + 1), count) for index, count in buckets]
    if histogram.zeros:
        bars.insert(0, Bar(1e-9 / base, 1e-9, histogram.zeros))
    return bars
