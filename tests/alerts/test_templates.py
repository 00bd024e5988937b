"""Tests for the templates of alert summaries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanospan.alerts import StatisticRule
from nanospan.alerts.alert import describe
from nanospan.alerts.templates import Quantity, check_template, render


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "s", "12.3 ms"),
        (1.5, "s", "1.5 s"),
        (1500, "s", "1,500 s"),
        (0.9996, "s", "1 s"),
        (0.0009996, "s", "1 ms"),
        (2.5e-5, "s", "25 µs"),
        (3e-9, "s", "3 ns"),
        (0.0, "s", "0 s"),
        (0.0321, "share", "3.21 %"),
        (1234.4, "/s", "1234/s"),
        (7.0, "count", "7"),
        (1.314, "ratio", "1.31 x"),
    ],
)
def test_numbers_are_shown_with_their_unit(value, unit, text):
    """Durations are shown with a suitable unit, or as plain numbers if a format is given."""
    assert f"{Quantity(value, unit)}" == text
    assert f"{Quantity(value, unit):.3f}" == f"{value:.3f}"


def test_placeholders_are_filled_in():
    """Summaries can show the rule, operation, statistic, value, limit, window and labels."""
    rule = StatisticRule(
        name="slow",
        operation="op*",
        statistic="p99",
        above=0.25,
        window=30,
        labels={"team": "memory"},
        summary="{team} {severity} {rule} {operation} {statistic} {value:.2f} {limit} {window} {{",
    )
    expected = "memory warning slow op1 p99 0.50 250 ms 30 s {"
    assert describe(rule, "op1", 0.5) == expected


def test_a_missing_value_is_shown_as_a_dash():
    """A value of None is shown as a dash, whatever format the placeholder specifies."""
    rule = StatisticRule(
        name="r", operation="op", statistic="absent", summary="{value:.3f} {limit} {window}"
    )
    assert describe(rule, "op", None) == "- - 60 s"


@pytest.mark.parametrize(
    ("fields", "value", "text"),
    [
        (
            {"statistic": "p95", "above": 0.1},
            0.2,
            "op: p95 200 ms of the last 60 s is over 100 ms",
        ),
        (
            {"statistic": "rate", "below": 5},
            2.5,
            "op: rate 2.5/s of the last 60 s is under 5/s",
        ),
        ({"statistic": "in_flight", "above": 8}, 9, "op: 9 in flight, over 8"),
        ({"statistic": "absent"}, None, "op: nothing finished in the last 60 s"),
        (
            {"statistic": "error_rate", "above": 0.01},
            0.5,
            "op: error_rate 50 % of the last 60 s is over 1 %",
        ),
    ],
)
def test_rules_without_a_summary_say_what_happened(fields, value, text):
    """The default summary contains the operation, statistic, value and limit."""
    assert describe(StatisticRule(name="r", operation="op", **fields), "op", value) == text


@given(st.text(alphabet="{}!:.[]0_abvalue<>^%f\n", max_size=30))
def test_every_accepted_template_can_be_rendered(template):
    """Every accepted template can be rendered, with or without a value, and exposes no object."""
    try:
        check_template(template, {"value", "a"})
    except ValueError:
        return
    for value in (Quantity(1.5, "s"), None):
        text = render(template, {"value": value, "a": "b"})
        assert "object at" not in text
        assert "<built-in" not in text
