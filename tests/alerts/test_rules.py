"""Tests for alert rules: validation, limits and patterns."""

import pytest

from nanospan.alerts import ChangeRule, RegressionRule, RuleError, Silence, StatisticRule


def rule(**fields):
    """Return a valid rule with the given fields replaced."""
    return StatisticRule(
        **{"name": "r", "operation": "op", "statistic": "p95", "above": 0.1, **fields}
    )


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"name": " "}, "name", "non-empty string"),
        ({"operation": 3}, "operation", "non-empty string"),
        ({"severity": "warn"}, "severity", "did you mean 'warning'"),
        ({"statistic": "p96"}, "statistic", "did you mean 'p9"),
        ({"above": "fast"}, "above", "finite number"),
        ({"above": True}, "above", "finite number"),
        ({"above": float("nan")}, "above", "finite number"),
        ({"above": -1}, "above", "not be negative"),
        ({"above": None}, "above", "p95 needs a limit"),
        ({"below": 0.2}, "below", "not both"),
        ({"statistic": "error_rate", "above": 5}, "above", "must be at most 1"),
        ({"statistic": "absent"}, "above", "takes no limit"),
        ({"resolve_below": 0.2}, "resolve_below", "greater than the value of above (0.1)"),
        ({"resolve_above": 0.2}, "resolve_above", "requires below"),
        ({"above": None, "below": 1, "resolve_below": 0.5}, "resolve_below", "requires above"),
        (
            {"above": None, "below": 1, "resolve_above": 0.5},
            "resolve_above",
            "not be less than the value of below (1)",
        ),
        ({"window": 0}, "window", "at least 0.1 seconds"),
        ({"window": 1e9}, "window", "at most 604800 seconds"),
        ({"for_seconds": -1}, "for_seconds", "at least 0 seconds"),
        ({"cooldown": float("inf")}, "cooldown", "finite number"),
        ({"min_count": 0}, "min_count", "at least 1"),
        ({"min_count": 1.5}, "min_count", "integer"),
        ({"labels": {"team-a": "x"}}, "labels", "letters, digits and _"),
        ({"labels": {"severity": "x"}}, "labels", "reserved label"),
        ({"labels": {"team": 3}}, "labels", "must be a string"),
        ({"labels": "team"}, "labels", "must map strings"),
        ({"summary": 3}, "summary", "string"),
        ({"summary": "{nothing}"}, "summary", "unknown placeholder {nothing}"),
        ({"summary": "{value.real}"}, "summary", "unknown placeholder {value.real}"),
        ({"summary": "{value[0]}"}, "summary", "unknown placeholder"),
        ({"summary": "{}"}, "summary", "unknown placeholder"),
        ({"summary": "{value!r}"}, "summary", "conversions"),
        ({"summary": "{value:999999999.2f}"}, "summary", "unsupported format"),
        ({"summary": "{value:{window}}"}, "summary", "unsupported format"),
        ({"summary": "{rule:d}"}, "summary", "format code 'd'"),
        ({"summary": "{value"}, "summary", "expected '}'"),
    ],
)
def test_an_invalid_field_is_named_with_its_value(fields, field, message):
    """The ValueError for an invalid field contains the field's name and value."""
    with pytest.raises(RuleError) as raised:
        rule(**fields)
    assert isinstance(raised.value, ValueError)
    assert raised.value.field == field
    assert str(raised.value).startswith(f"{field} = ")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: RegressionRule(name="r", operation="op", baseline=""), "baseline"),
        (lambda: RegressionRule(name="r", operation="op", baseline=5), "baseline"),
        (lambda: RegressionRule(name="r", operation="op", baseline="b", every=0), "every"),
        (lambda: RegressionRule(name="r", operation="op", baseline="b", fdr=1), "fdr"),
        (
            lambda: RegressionRule(name="r", operation="op", baseline="b", min_effect=0),
            "min_effect",
        ),
        (lambda: ChangeRule(name="r", operation="op", direction="left"), "direction"),
        (lambda: ChangeRule(name="r", operation="op", hold_seconds=0), "hold_seconds"),
        (lambda: ChangeRule(name="r", operation="op", batch=0), "batch"),
        (lambda: RegressionRule(name="r", operation="op", baseline="b", min_count=0), "min_count"),
        (lambda: ChangeRule(name="r", operation="op", warmup=79), "warmup"),
        (lambda: ChangeRule(name="r", operation="op", h=0), "h"),
        (lambda: Silence(until=float("inf")), "until"),
        (lambda: Silence(until="tomorrow"), "until"),
        (lambda: Silence(until=1.0, labels={"a": 1}), "labels"),
    ],
)
def test_other_kinds_reject_invalid_fields(make, field):
    """Errors for regression rules, change rules and silences also name the invalid field."""
    with pytest.raises(RuleError) as raised:
        make()
    assert raised.value.field == field


def test_rules_are_values():
    """Rules with equal fields are equal and have equal hashes, and rules are immutable."""
    labels = {"team": "memory"}
    one = rule(labels=labels)
    labels["team"] = "other"
    assert one == rule(labels={"team": "memory"})
    assert hash(one) == hash(rule(labels={"team": "memory"}))
    with pytest.raises(AttributeError):
        one.above = 3
    with pytest.raises(TypeError):
        one.labels["team"] = "other"


def test_limits_are_strict_and_hysteresis_delays_resolving():
    """Only values past the limit breach it; alerts resolve only past the resolve limit."""
    over = rule(above=0.1, resolve_below=0.05)
    assert [over.breached_by(v) for v in (0.05, 0.1, 0.11)] == [False, False, True]
    assert [over.cleared_by(v) for v in (0.04, 0.05, 0.1)] == [True, False, False]
    under = rule(above=None, below=10, resolve_above=20)
    assert [under.breached_by(v) for v in (9, 10)] == [True, False]
    assert [under.cleared_by(v) for v in (15, 20, 21)] == [False, False, True]
    assert rule().cleared_by(0.1)


def test_patterns_match_as_fnmatch_does():
    """Patterns support ``*``, ``?`` and ``[...]``, and are case-sensitive."""
    assert rule(operation="m?_*").matches("m1_operation")
    assert not rule(operation="m?_*").matches("M1_operation")
    assert rule(operation="op[12]").matches("op2")
    assert not rule(operation="op").matches("op2")


@pytest.mark.parametrize(
    ("fields", "interval"),
    [
        ({"window": 60}, 5.0),
        ({"window": 60, "for_seconds": 4}, 1.0),
        ({"window": 0.5}, 0.1),
        ({"window": 86400}, 15.0),
    ],
)
def test_the_interval_suits_the_window(fields, interval):
    """The interval is the lesser of window/12 and ``for_seconds``/4, clamped to 0.1-15 s."""
    assert rule(**fields).interval == interval
