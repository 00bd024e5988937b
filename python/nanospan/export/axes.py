"""Logarithmic axes and time axes for charts, with tick positions and labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone

from nanospan.values.units import duration_text

TIME_STEPS = (
    *(10.0**exponent * each for exponent in range(-6, 0) for each in (1, 2, 5)),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200),
    *(86_400.0 * each for each in (1, 2, 7, 14, 30, 90, 365)),
)
"""The intervals allowed between ticks on a time axis, in seconds, in ascending order."""


@dataclass(frozen=True, slots=True)
class LogAxis:
    """A logarithmic chart axis for durations.

    Attributes:
        low: The duration at the axis's lower end, in seconds; above 0.
        high: The duration at the axis's upper end, in seconds; above ``low``.
    """

    low: float
    high: float

    @classmethod
    def around(cls, low: float, high: float) -> LogAxis:
        """Return an axis that shows the durations from ``low`` to ``high``, in seconds.

        The axis has a margin at each end, and its upper end is at least 4 times its lower end.
        """
        low, high = max(low, 1e-9), max(high, 1e-9)
        margin = max(1.15, math.sqrt(4 * low / high) if high / low < 4 else 0)  # noqa: PLR2004
        return cls(low / margin, high * margin)

    def share(self, seconds: float) -> float:
        """Return a duration's position on the axis, from 0 (lower end) to 1 (upper end).

        Durations outside the axis are clamped to the nearer end.
        """
        span = math.log(self.high / self.low)
        return min(max(math.log(max(seconds, 1e-12) / self.low) / span, 0.0), 1.0)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Return up to ``most`` ticks, each as a tuple of its duration in seconds and its label.

        Ticks are at powers of ten and, if there is room, also at 3 times or at 2 and 5 times each
        power of ten.
        """
        for digits, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 3), ((1,), 6)):
            first, last = (math.floor(math.log10(end)) for end in (self.low, self.high))
            found = [
                digit * 10.0**exponent
                for exponent in range(first, last + 1)
                if exponent % every == 0
                for digit in digits
                if self.low <= digit * 10.0**exponent <= self.high
            ]
            if len(found) <= most:
                break
        return [(seconds, duration_text(seconds)) for seconds in found[:most]]


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """A linear chart axis for points in time, with labels in UTC.

    Attributes:
        low: The earliest time on the axis, in Unix seconds.
        high: The latest time on the axis, in Unix seconds.
    """

    low: float
    high: float

    def share(self, time: float) -> float:
        """Return the position of a Unix time on the axis: 0 is the lower end, 1 the upper end."""
        return (time - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Return up to ``most`` evenly spaced ticks, each as a tuple of Unix time and label."""
        span = self.high - self.low
        if span < TIME_STEPS[0]:
            return [(self.low, _clock(self.low, 1.0))]
        step = next((each for each in TIME_STEPS if span / each <= most), span)
        first = math.ceil(self.low / step)
        count = min(math.floor(self.high / step) - first + 1, most)
        return [((first + i) * step, _clock((first + i) * step, step)) for i in range(count)]


def _clock(time: float, step: float) -> str:
    moment = datetime.fromtimestamp(round(time, 6), timezone.utc)
    if step >= 86_400:  # noqa: PLR2004 - a day
        return f"{moment:%Y-%m-%d}"
    if step >= 60:  # noqa: PLR2004 - a minute
        return f"{moment:%H:%M}"
    if step >= 1:
        return f"{moment:%H:%M:%S}"
    decimals = min(max(1, math.ceil(-math.log10(step) - 1e-9)), 6)
    return f"{moment:%H:%M:%S}.{moment.microsecond:06}"[: 9 + decimals]
