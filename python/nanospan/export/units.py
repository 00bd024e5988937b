"""Durations and counts as people read them."""

from __future__ import annotations

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def duration_text(seconds: float) -> str:
    """Return a duration with three significant digits and the unit that suits it: `1.25 ms`."""
    # Rounded first, so that 0.0009999 s is 1 ms and not 1000 µs.
    rounded = float(f"{seconds:.2e}")
    if rounded == 0:
        return "0 s"
    size, unit = next((each for each in UNITS if rounded >= each[0]), UNITS[-1])
    value = rounded / size
    if value >= 1e6:  # noqa: PLR2004 - nobody counts digits
        return f"{value:.3g} {unit}"
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2  # noqa: PLR2004
    text = f"{value:,.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {unit}"


def counted(count: int, what: str = "sample") -> str:
    """Return a count with its noun: `1 sample`, `1,250 samples`."""
    return f"{count_text(count)} {what}{'s' * (count != 1)}"


def count_text(count: int) -> str:
    """Return a count with separators, or from a million on with three digits: `1.25 M`."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,}"
