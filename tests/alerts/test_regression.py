"""Tests for rules based on ``nanospan.regression``: regressions and changes of level."""

import random

import pytest
from alerting import wait_until

from nanospan.alerts import ChangeRule, RegressionRule


@pytest.fixture
def draw():
    return random.Random(11)


@pytest.fixture
def serve(monitor, draw):
    """Return a function that records lognormal durations, a share ``slow`` of them prolonged."""

    def serve(count, median, *, operation="op", slow=0.0, times=1.0):
        for _ in range(count):
            factor = times if draw.random() < slow else 1.0
            monitor.record_metric(operation, median * factor * draw.lognormvariate(0, 0.1))

    return serve


@pytest.fixture
def baseline(monitor, serve):
    """A baseline of 1,000 samples around 10 ms; the monitor is cleared afterwards."""
    serve(1000, 0.010)
    taken = monitor.baseline()
    monitor.clear_metrics()
    return taken


def rule(baseline, **fields):
    return RegressionRule(**{"name": "r", "operation": "op", "baseline": baseline, **fields})


def test_a_regression_fires_and_resolves(harness, serve, baseline):
    """The alert fires while the window is slower than the baseline, then resolves."""
    serve(1000, 0.010)
    harness.set_rules(rule(baseline))
    harness.tick(30)
    assert harness.states == []
    serve(1000, 0.012)
    harness.tick(30)
    [alert] = harness.engine.active()
    assert alert.state == "firing"
    assert alert.value == pytest.approx(1.2, rel=0.03)
    assert alert.summary == "op: regressed to 1.2 x its baseline"
    serve(1000, 0.010)
    harness.tick(30)
    assert harness.states == [("r", "op", "firing"), ("r", "op", "resolved")]


def test_the_value_of_a_regressed_tail_is_its_ratio(harness, serve, baseline):
    """If only the tail regressed, the alert's value is the tail's ratio to the baseline."""
    serve(1000, 0.010, slow=0.02, times=4)
    harness.set_rules(rule(baseline))
    [alert] = harness.engine.active()
    assert alert.value > 2


def test_too_few_samples_change_nothing(harness, monitor, serve, baseline):
    """With fewer than ``min_count`` samples, no alert fires or resolves."""
    harness.set_rules(rule(baseline, min_count=60))
    serve(59, 0.020)
    harness.tick(30)
    assert harness.states == []
    serve(1, 0.020)
    harness.tick(30)
    monitor.clear_metrics()
    harness.tick(30)
    serve(59, 0.010)
    harness.tick(30)
    assert harness.active == {("r", "op"): "firing"}


def test_comparisons_are_as_frequent_as_the_rule_says(harness, serve, baseline):
    """A rule compares once per ``every`` seconds and keeps its verdict in between."""
    serve(1000, 0.012)
    harness.set_rules(rule(baseline, every=60))
    serve(1000, 0.010)
    harness.tick(59)
    assert harness.active == {("r", "op"): "firing"}
    harness.tick(1)
    assert harness.active == {}


def test_a_baseline_is_read_from_its_file(harness, serve, baseline, tmp_path, caplog):
    """A changed baseline file is read again; an unreadable one is logged once."""
    path = tmp_path / "baseline.json"
    path.write_text("{}")
    serve(1000, 0.012)
    caplog.set_level("INFO", "nanospan.alerts")
    harness.set_rules(rule(path))
    harness.tick(15, times=4)  # includes ticks at which no comparison is due
    assert harness.states == []
    assert [r.getMessage() for r in caplog.records] == ["alert rule 'r' cannot be evaluated"]
    baseline.save(path)
    harness.tick(30)
    assert harness.states == [("r", "op", "firing")]


def test_a_change_is_reported_for_hold_seconds(harness, serve):
    """An alert for a change of level fires, and resolves after ``hold_seconds``."""
    harness.set_rules(ChangeRule(name="c", operation="op", hold_seconds=60))
    for _ in range(20):
        serve(50, 0.010)
        harness.tick()
    assert harness.states == []
    for _ in range(10):
        serve(50, 0.015)
        harness.tick()
    [alert] = harness.engine.active()
    assert (alert.state, alert.statistic) == ("firing", "change")
    assert 1.05 < alert.value < 1.6  # rough, because the beginning of the change is estimated
    harness.tick(60)
    assert harness.states == [("c", "op", "firing"), ("c", "op", "resolved")]


@pytest.mark.parametrize(("direction", "expected"), [("up", 0), ("down", 1), ("any", 1)])
def test_only_changes_in_the_rules_direction_fire(harness, serve, direction, expected):
    """A drop in duration fires only if ``direction`` is ``down`` or ``any``."""
    harness.set_rules(ChangeRule(name="c", operation="op", direction=direction))
    for median in [0.010] * 20 + [0.005] * 10:
        serve(50, median)
        harness.tick()
    assert len(harness.engine.active()) == expected


def test_each_sample_is_fed_to_the_detector_once(harness, serve):
    """Evaluating a rule repeatedly without new samples does not raise an alarm."""
    harness.set_rules(ChangeRule(name="c", operation="op"))
    serve(500, 0.010)
    harness.tick()
    serve(9, 0.020)  # less than a batch
    harness.tick(times=200)
    assert harness.states == []


def test_new_samples_are_found_without_the_system_clock(monitor):
    """``_durations_since`` returns the samples recorded since a moment, and the next moment."""
    assert monitor._durations_since("op", 0) == ([], 0)
    for duration in (0.1, 0.2):
        monitor.record_metric("op", duration)
    durations, moment = monitor._durations_since("op", 0)
    assert durations == [0.1, 0.2]
    assert monitor._durations_since("op", moment) == ([], moment)
    monitor.record_metric("op", 0.3)
    durations, later = monitor._durations_since("op", moment)
    assert durations == [0.3]
    assert later > moment


def test_rules_from_a_file_fire_in_the_real_thread(tmp_path, serve, baseline, monitor):
    """A regression rule and a change rule loaded from a file fire in the real thread."""
    baseline.save(tmp_path / "baseline.json")
    (tmp_path / "alerts.toml").write_text(
        "[[rule]]\nname = 'r'\nkind = 'regression'\noperation = 'op'\n"
        "baseline = 'baseline.json'\nevery = 1\n"
        "[[rule]]\nname = 'c'\nkind = 'change'\noperation = 'other'\n"
    )
    monitor.alerts.add_sink(lambda _: None)
    monitor.alerts.load(tmp_path / "alerts.toml")

    def firing():
        return {(a.rule, a.operation) for a in monitor.alerts.active() if a.state == "firing"}

    serve(500, 0.010, operation="other")
    serve(1000, 0.012)
    wait_until(lambda: firing() == {("r", "op")})  # by now the detector has learned its level
    serve(100, 0.020, operation="other")
    wait_until(lambda: firing() == {("r", "op"), ("c", "other")})
    monitor.alerts.close()
