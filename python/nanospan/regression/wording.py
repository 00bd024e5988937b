"""Durations, changes and names as people read them."""

from __future__ import annotations

import math

NOTHING = "-"
"""Stands where there is no figure."""


LARGE = 1e6
"""From here on, a factor's power of ten says more than its digits."""


def seconds(value: float) -> str:
    """Three digits of a duration, in the unit people would use."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        # A value that would be rounded up to 1,000 belongs to the next unit.
        if value >= 0.9995 * factor:
            return f"{_three_digits(value / factor)} {unit}"
    return f"{_three_digits(value * 1e9)} ns" if value else "0 s"


def number(value: float) -> str:
    """A figure whose unit nobody knows."""
    return f"{value:.4g}"


def change(ratio: float) -> str:
    """A ratio as the change it is: 1.2 is ``+20.0 %``."""
    if not math.isfinite(ratio):
        return NOTHING
    # From five times on, the factor says more.
    if ratio < 5:  # noqa: PLR2004
        return f"{(ratio - 1) * 100:+.1f} %"
    return f"x {_three_digits(ratio)}" if ratio < LARGE else f"x {ratio:.2e}"


def interval(bounds: tuple[float, float]) -> str:
    """An interval of ratios, as changes."""
    if not all(map(math.isfinite, bounds)):
        return NOTHING
    low, high = map(change, bounds)
    return f"{low.removesuffix(' %') if high.endswith(' %') else low} to {high}"


def shown(text: str) -> str:
    """A text of unknown origin as it may be printed: on one line, without control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - int(math.log10(value)))}f}" if value >= 1 else f"{value:.2f}"
