"""Tests for formatting durations and counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanospan.values.units import count_text, duration_text

FACTORS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (1e-9, "1 ns"),
        (1.294e-6, "1.29 µs"),
        (0.0009999, "1 ms"),
        (0.00125, "1.25 ms"),
        (0.0125, "12.5 ms"),
        (0.125, "125 ms"),
        (1.0, "1 s"),
        (75.04, "75 s"),
        (12_345.0, "12,300 s"),
        (1e300, "1e+300 s"),
    ],
)
def test_durations_have_three_digits_and_a_unit(seconds, text):
    """Durations are shown with three digits, in the largest unit in which they are at least 1."""
    assert duration_text(seconds) == text


@given(st.floats(1e-9, 1e5))
def test_durations_are_accurate_to_half_a_percent(seconds):
    """Formatting a duration with three significant digits changes it by at most 0.5 %."""
    number, unit = duration_text(seconds).split()
    assert float(number.replace(",", "")) * FACTORS[unit] == pytest.approx(seconds, rel=0.0051)


def test_counts_are_short():
    """Counts below a million have thousands separators; larger counts have three digits."""
    counts = [0, 999, 12_345, 1_250_000, 3 * 10**9, 4 * 10**12]
    assert [count_text(count) for count in counts] == ["0", "999", "12,345", "1.25 M", "3 G", "4 T"]
