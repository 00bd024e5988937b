"""Draws a history as one line of text."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

BARS = "▁▂▃▄▅▆▇█"
MARK = "▲"


def sparkline(values: Sequence[float], marks: Collection[int], width: int) -> tuple[str, str]:
    """Draw values as bars, with eight possible heights, and mark some of the bars.

    Args:
        values: The values, at least one.
        marks: The indices of the values to mark.
        width: The maximum number of columns. A column that several values share shows their median.

    Returns:
        The bars, and a line of marks to print below the bars.
    """
    columns = min(width, len(values))
    places = [value * columns // len(values) for value in range(len(values))]
    shared: list[list[float]] = [[] for _ in range(columns)]
    for place, value in zip(places, values, strict=True):
        shared[place].append(value)
    heights = [statistics.median(each) for each in shared]
    low, high = min(heights), max(heights)
    # Halved first, because the difference of two finite numbers may be infinite.
    span = high / 2 - low / 2 or 1.0
    bars = [BARS[round((height / 2 - low / 2) / span * (len(BARS) - 1))] for height in heights]
    marked = {places[mark] for mark in marks}
    under = "".join(MARK if column in marked else " " for column in range(columns)).rstrip()
    return "".join(bars), under
