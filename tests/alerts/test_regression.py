"""Rules that ask nanospan.regression: whether something regressed, and whether it changes."""

import random

import pytest
from alerting import wait_until

from nanospan.alerts import ChangeRule, RegressionRule


@pytest.fixture
def draw():
    return random.Random(11)


@pytest.fixture
def serve(monitor, draw):
    """Records lognormal durations around a median, some of them a multiple of it."""

    def serve(count, median, *, operation="op", slow=0.0, times=1.0):
        for _ in range(count):
            factor = times if draw.random() < slow else 1.0
            monitor.record_metric(operation, median * factor * draw.lognormvariate(0, 0.1))

    return serve


@pytest.fixture
def baseline(monitor, serve):
    """A full window around 10 ms, which the monitor has forgotten since."""
    serve(1000, 0.010)
    taken = monitor.baseline()
    monitor.clear_metrics()
    return taken


def rule(baseline, **fields):
    return RegressionRule(**{"name": "r", "operation": "op", "baseline": baseline, **fields})


def test_a_regression_fires_and_ends(looking, serve, baseline):
    """It fires while the window is slower than the baseline, and resolves once it is not."""
    serve(1000, 0.010)
    looking.rules(rule(baseline))
    looking.look(30)
    assert looking.states == []
    serve(1000, 0.012)
    looking.look(30)
    [alert] = looking.engine.active()
    assert alert.state == "firing"
    assert alert.value == pytest.approx(1.2, rel=0.03)
    assert alert.summary == "op: regressed to 1.2 x of its baseline"
    serve(1000, 0.010)
    looking.look(30)
    assert looking.states == [("r", "op", "firing"), ("r", "op", "resolved")]


def test_a_tail_that_regressed_tells_how_much(looking, serve, baseline):
    """Where the bulk is as it was, the value is that of the tail."""
    serve(1000, 0.010, slow=0.02, times=4)
    looking.rules(rule(baseline))
    [alert] = looking.engine.active()
    assert alert.value > 2


def test_too_few_samples_change_nothing(looking, monitor, serve, baseline):
    """Under `min_count` nothing fires, and nothing resolves either."""
    looking.rules(rule(baseline, min_count=60))
    serve(59, 0.020)
    looking.look(30)
    assert looking.states == []
    serve(1, 0.020)
    looking.look(30)
    monitor.clear_metrics()
    looking.look(30)
    serve(59, 0.010)
    looking.look(30)
    assert looking.active == {("r", "op"): "firing"}


def test_comparing_is_done_as_often_as_the_rule_says(looking, serve, baseline):
    """In between the last verdict stands."""
    serve(1000, 0.012)
    looking.rules(rule(baseline, every=60))
    serve(1000, 0.010)
    looking.look(59)
    assert looking.active == {("r", "op"): "firing"}
    looking.look(1)
    assert looking.active == {}


def test_a_baseline_is_read_from_its_file(looking, serve, baseline, tmp_path, caplog):
    """And again when it changes; one that cannot be read is logged once, and hurts no one else."""
    path = tmp_path / "baseline.json"
    path.write_text("{}")
    serve(1000, 0.012)
    caplog.set_level("INFO", "nanospan.alerts")
    looking.rules(rule(path))
    looking.look(15, times=4)  # between two comparisons nothing works again
    assert looking.states == []
    assert [r.getMessage() for r in caplog.records] == ["alert rule 'r' cannot be evaluated"]
    baseline.save(path)
    looking.look(30)
    assert looking.states == [("r", "op", "firing")]


def test_a_change_is_reported_for_its_time(looking, serve):
    """A new level fires, whatever it is, and resolves when it has become the usual one."""
    looking.rules(ChangeRule(name="c", operation="op", hold_seconds=60))
    for _ in range(20):
        serve(50, 0.010)
        looking.look()
    assert looking.states == []
    for _ in range(10):
        serve(50, 0.015)
        looking.look()
    [alert] = looking.engine.active()
    assert (alert.state, alert.statistic) == ("firing", "change")
    assert 1.05 < alert.value < 1.6  # roughly: where it began is an estimate
    looking.look(60)
    assert looking.states == [("c", "op", "firing"), ("c", "op", "resolved")]


@pytest.mark.parametrize(("direction", "expected"), [("up", 0), ("down", 1), ("any", 1)])
def test_only_changes_of_a_direction_count(looking, serve, direction, expected):
    """Getting faster is no alert unless it is asked for."""
    looking.rules(ChangeRule(name="c", operation="op", direction=direction))
    for median in [0.010] * 20 + [0.005] * 10:
        serve(50, median)
        looking.look()
    assert len(looking.engine.active()) == expected


def test_samples_are_fed_once(looking, serve):
    """Looking again at a window that stands still is not evidence."""
    looking.rules(ChangeRule(name="c", operation="op"))
    serve(500, 0.010)
    looking.look()
    serve(9, 0.020)  # less than a batch
    looking.look(times=200)
    assert looking.states == []


def test_new_samples_are_told_by_no_clock_that_can_be_set(monitor):
    """A moment is a number of ticks: Unix times of one sample differ once the clock was set."""
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


def test_a_file_brings_both(tmp_path, serve, baseline, monitor):
    """With the real thread, from TOML to firing alerts."""
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
    wait_until(lambda: firing() == {("r", "op")})  # so that the level of the other is known, too
    serve(100, 0.020, operation="other")
    wait_until(lambda: firing() == {("r", "op"), ("c", "other")})
    monitor.alerts.close()
