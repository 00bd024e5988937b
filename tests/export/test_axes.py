"""Tests for the tick positions and labels of axes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanospan.export.axes import LogAxis, TimeAxis

DURATIONS = st.floats(1e-9, 1e6)
TIMES = st.floats(1e9, 2e9)


@given(DURATIONS, DURATIONS, st.integers(3, 9))
def test_a_logarithmic_axis_contains_both_durations(a, b, most):
    """The axis contains both durations and has at most ``most`` ticks, in ascending order."""
    low, high = sorted((a, b))
    axis = LogAxis.around(low, high)
    assert 0 < axis.share(low) <= axis.share(high) < 1
    ticks = [at for at, _ in axis.ticks(most)]
    assert ticks == sorted(ticks)
    assert len(ticks) <= most
    assert all(axis.low <= at <= axis.high for at in ticks)


def test_durations_off_the_axis_are_clamped():
    """A duration outside the axis, even zero, is placed at the nearer end."""
    axis = LogAxis.around(0.001, 0.1)
    assert (axis.share(0.0), axis.share(1e9)) == (0.0, 1.0)


def test_ticks_of_a_logarithmic_axis_are_round():
    """Ticks are powers of ten, and also 2 and 5 times powers of ten if there is room."""
    assert [text for _, text in LogAxis(0.001, 0.1).ticks(8)] == [
        "1 ms",
        "2 ms",
        "5 ms",
        "10 ms",
        "20 ms",
        "50 ms",
        "100 ms",
    ]
    assert [text for _, text in LogAxis(1e-6, 1.0).ticks(7)][:2] == ["1 µs", "10 µs"]


@given(TIMES, st.floats(0, 1e8), st.integers(2, 7))
def test_ticks_of_a_time_axis_are_within_it(low, span, most):
    """The axis has at most ``most`` ticks, all within its range and in ascending order."""
    axis = TimeAxis(low, low + span)
    ticks = [at for at, _ in axis.ticks(most)]
    assert ticks == sorted(ticks)
    assert len(ticks) <= most
    assert all(axis.low <= at <= axis.high + 1e-6 for at in ticks)


@pytest.mark.parametrize(
    ("span", "texts"),
    [
        (0.0, ["22:13:20"]),
        (0.4, ["22:13:20.0", "22:13:20.1", "22:13:20.2", "22:13:20.3", "22:13:20.4"]),
        (4.0, ["22:13:20", "22:13:21", "22:13:22", "22:13:23", "22:13:24"]),
        (3_600.0, ["22:15", "22:30", "22:45", "23:00"]),
        (500_000.0, ["2023-11-15", "2023-11-17", "2023-11-19"]),
    ],
)
def test_time_labels_are_as_fine_as_their_steps(span, texts):
    """Time labels show only as many digits as the distance between ticks requires."""
    assert [text for _, text in TimeAxis(1.7e9, 1.7e9 + span).ticks(5)] == texts
