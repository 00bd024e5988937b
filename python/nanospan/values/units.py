"""Format durations, counts, ratios and names for display."""

from __future__ import annotations

import math

NO_FIGURE = "-"
"""The text shown in place of a missing figure."""

LARGE_RATIO = 1e6
"""Ratios of at least this value are shown in scientific notation."""

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def duration_text(seconds: float, *, trim: bool = True) -> str:
    """Format a duration with three significant digits and a suitable unit: ``1.25 ms``.

    Args:
        seconds: The duration in seconds.
        trim: Whether to drop trailing zeros; table columns align better if they are kept.
    """
    # Rounded first, so that 0.0009999 s is 1 ms and not 1000 µs.
    rounded = float(f"{seconds:.2e}")
    if rounded == 0:
        return "0 s"
    size, unit = next((each for each in UNITS if rounded >= each[0]), UNITS[-1])
    value = rounded / size
    if value >= 1e6:  # noqa: PLR2004 - so many digits are hard to read
        return f"{value:.3g} {unit}"
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2  # noqa: PLR2004
    text = f"{value:,.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.') if trim and '.' in text else text} {unit}"


def counted(count: int, noun: str = "sample") -> str:
    """Format a count with its noun, singular or plural: ``1 sample``, ``1,250 samples``."""
    return f"{count_text(count)} {noun}{'s' * (count != 1)}"


def count_text(count: int) -> str:
    """Format a count, in full below a million (``12,500``) and rounded above (``1.25 M``)."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,}"


def share_text(share: float) -> str:
    """Format a share from 0 to 1 as a percentage with three significant digits: ``12.5 %``."""
    return f"{share * 100:.3g} %"


def figure_text(value: float) -> str:
    """Format a number whose unit is unknown, with four significant digits."""
    return f"{value:.4g}"


def change_text(ratio: float) -> str:
    """Format a ratio as a relative change (``+20.0 %``), or from 5 up as a factor (``x 7.00``)."""
    if not math.isfinite(ratio):
        return NO_FIGURE
    # From a ratio of five, a factor is clearer than a percentage.
    if ratio < 5:  # noqa: PLR2004
        return f"{(ratio - 1) * 100:+.1f} %"
    return f"x {_three_digits(ratio)}" if ratio < LARGE_RATIO else f"x {ratio:.2e}"


def interval_text(bounds: tuple[float, float]) -> str:
    """Format an interval of ratios as relative changes: ``+10.0 to +20.0 %`` for (1.1, 1.2)."""
    if not all(map(math.isfinite, bounds)):
        return NO_FIGURE
    low, high = map(change_text, bounds)
    return f"{low.removesuffix(' %') if high.endswith(' %') else low} to {high}"


def printable(text: str) -> str:
    """Return ``text`` with control characters and line breaks escaped, so it is safe to print."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - int(math.log10(value)))}f}"
