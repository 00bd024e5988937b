"""Turn a histogram's buckets into the bars of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanospan._core import Snapshot

MOST_BARS = 64
"""The most bars that a picture has room for."""

FINEST_SCALE = 4
"""16 bars for each doubling of the duration: finer bars would show chance rather than shape."""


@dataclass(frozen=True, slots=True)
class Bar:
    """The number of durations above ``low``, up to and including ``high``, in seconds."""

    low: float
    high: float
    count: int


def bars_of(histogram: Snapshot) -> list[Bar]:
    """Return the bars of a histogram, ascending, at the finest scale at which they all fit.

    Empty buckets have no bar. Durations of exactly 0 are drawn as 1 ns, the shortest duration.
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
