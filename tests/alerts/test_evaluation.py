"""What rules find in a real monitor over time that the test moves."""

import asyncio
import contextlib

import pytest

from nanospan.alerts import StatisticRule
from nanospan.alerts.rules import Rule


def rule(**fields):
    return StatisticRule(**{"name": "r", "operation": "op", "window": 10, **fields})


def record(monitor, *durations, operation="op", success=True):
    for duration in durations:
        monitor.record_metric(operation, duration, success)


@pytest.mark.parametrize(
    ("statistic", "value"),
    [
        ("p50", 0.050),
        ("p90", 0.090),
        ("p95", 0.095),
        ("p99", 0.099),
        ("p999", 0.100),
        ("max", 0.100),
        ("mean", 0.0505),
        ("rate", 100 / 2),
    ],
)
def test_statistics_of_a_window(looking, monitor, statistic, value):
    """Each statistic is that of the samples between two looks, durations within 0.55 %."""
    record(monitor, 99.0)  # before the rule: not its concern
    looking.rules(rule(statistic=statistic, above=0))
    record(monitor, *(number / 1000 for number in range(1, 101)))
    looking.look(2.0)
    [alert] = looking.engine.active()
    assert alert.value == pytest.approx(value, rel=0.0056)


def test_error_rate_leaves_cancelled_samples_out(looking, monitor):
    """It is the share of failures among the samples that ended by themselves."""

    async def cancelled():
        async with monitor.track_operation("op"):
            raise asyncio.CancelledError

    looking.rules(rule(statistic="error_rate", above=0.2))
    record(monitor, 0.1, 0.1, 0.1)
    record(monitor, 0.1, success=False)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(cancelled())
    looking.look()
    [alert] = looking.engine.active()
    assert alert.value == 0.25


def test_in_flight_is_what_is_under_way(looking, monitor):
    """Spans that are open at the look count, whenever they began."""
    looking.rules(rule(statistic="in_flight", above=1))
    with monitor.track_operation("op"), monitor.track_operation("op"):
        looking.look()
        assert [alert.value for alert in looking.engine.active()] == [2.0]
    looking.look()
    assert looking.states == [("r", "op", "firing"), ("r", "op", "resolved")]


def test_samples_leave_the_window(looking, monitor):
    """What is older than the window, and a twelfth of it, no longer counts."""
    looking.rules(rule(statistic="max", above=0.5))
    record(monitor, 1.0)
    looking.look()
    assert looking.active == {("r", "op"): "firing"}
    for _ in range(9):
        record(monitor, 0.1)
        looking.look()
    assert looking.active == {("r", "op"): "firing"}
    record(monitor, 0.1)
    looking.look(times=2)
    assert looking.active == {}


def test_a_window_keeps_few_snapshots(looking, monitor):
    """However often it is looked at, a window holds a dozen snapshots and a bit."""
    looking.rules(rule(statistic="p95", above=1, window=60))
    for _ in range(2000):
        record(monitor, 0.1)
        looking.look(0.1)
    [ring] = looking.engine._evaluator._windows._rings.values()
    assert len(ring.entries) <= 14


def test_an_operation_seen_later_counts_from_its_first_sample(looking, monitor):
    """A new name's samples are all of the window, as nothing came before."""
    looking.rules(rule(operation="*", statistic="max", above=0.5))
    looking.look()
    record(monitor, 1.0, operation="new")
    looking.look()
    assert looking.active == {("r", "new"): "firing"}


def test_a_cleared_operation_counts_from_then(looking, monitor):
    """Clearing in the middle of a window neither breaks nor hides anything."""
    looking.rules(rule(statistic="max", above=0.5))
    record(monitor, 1.0, 1.0, 1.0)
    looking.look()
    monitor.clear_metrics("op")
    record(monitor, 0.1)
    looking.look()
    assert looking.states[-1] == ("r", "op", "resolved")
    record(monitor, 2.0)
    looking.look()
    assert looking.active == {("r", "op"): "firing"}


def test_setting_the_clock_leaves_windows_as_they_are(looking, monitor):
    """Unix times of one moment differ from look to look then, and nothing was cleared."""
    record(monitor, *[9.0] * 1000)  # before the rule: not its concern
    looking.rules(rule(statistic="rate", above=50), rule(name="max", statistic="max", above=5))
    for step in (0.002, -3600.0, 7200.0):
        looking.set_clock(step)
        record(monitor, 0.1)
        looking.look()
    assert looking.states == []


@pytest.mark.parametrize(
    ("fields", "after"),
    [({"statistic": "absent"}, 0), ({"statistic": "rate", "below": 2}, 10)],
)
def test_clearing_is_no_silence(looking, monitor, fields, after):
    """A cleared operation is watched anew: what it did before is not taken for nothing."""
    looking.rules(rule(**fields))
    for _ in range(12):
        record(monitor, *[0.1] * 10)
        looking.look()
    monitor.clear_metrics()
    record(monitor, *[0.1] * after)
    looking.look()
    assert looking.states == []


def test_silence_after_clearing_is_found_after_a_whole_window(looking, monitor):
    """Clearing puts the alarm off, not away."""
    looking.rules(rule(statistic="absent"))
    record(monitor, 0.1)
    looking.look(times=3)
    monitor.clear_metrics()
    looking.look(times=9)
    assert looking.states == []
    looking.look(times=2)
    assert looking.active == {("r", "op"): "firing"}


def test_each_operation_of_a_pattern_is_an_alert(looking, monitor):
    """A pattern watches every operation that matches, each for itself."""
    looking.rules(rule(operation="m*", statistic="p50", above=0.5))
    record(monitor, 1.0, operation="m1")
    record(monitor, 0.1, operation="m2")
    record(monitor, 1.0, operation="other")
    looking.look()
    assert looking.active == {("r", "m1"): "firing"}


def test_too_few_samples_are_not_judged(looking, monitor):
    """Under `min_count` nothing starts and nothing ends; without any sample it ends."""
    looking.rules(rule(statistic="p99", above=0.5, min_count=3, window=3))
    record(monitor, 1.0, 1.0)
    looking.look()
    assert looking.active == {}
    record(monitor, 1.0)
    looking.look()
    assert looking.active == {("r", "op"): "firing"}
    looking.look(3.0)
    record(monitor, 0.1)
    looking.look(3.0)
    assert looking.states == [("r", "op", "firing"), ("r", "op", "resolved")]


def test_absent_needs_a_whole_window_of_silence(looking, monitor):
    """Silence is found once a whole window was watched, and ends with a sample."""
    looking.rules(rule(statistic="absent"))
    looking.look(9.9)
    assert looking.active == {}
    looking.look(0.1)
    assert looking.active == {("r", "op"): "firing"}
    record(monitor, 0.1)
    looking.look()
    assert looking.active == {}
    looking.look(times=11)
    assert looking.active == {("r", "op"): "firing"}


def test_absent_of_a_pattern(looking, monitor):
    """A pattern without a match is absent itself; then each operation that falls silent is."""
    looking.rules(rule(operation="m*", statistic="absent"))
    looking.look(10)
    assert looking.active == {("r", "m*"): "firing"}
    record(monitor, 0.1, operation="m1")
    looking.look()
    assert looking.active == {}
    looking.look(times=12)
    assert looking.active == {("r", "m1"): "firing"}


def test_rate_under_a_limit(looking, monitor):
    """Too little traffic is found as too much is."""
    looking.rules(rule(statistic="rate", below=2, window=4))
    for _ in range(5):
        record(monitor, 0.1, 0.1, 0.1)
        looking.look()
    assert looking.active == {}
    looking.look(times=3)
    assert looking.active == {("r", "op"): "firing"}


def test_the_first_look_finds_nothing(looking, monitor):
    """What was recorded before the rule is not held against anyone."""
    record(monitor, 9.0, 9.0)
    looking.rules(rule(statistic="max", above=0.5), rule(name="s", statistic="rate", below=9))
    assert looking.active == {}


def test_a_rule_that_raises_is_logged_once_and_stops_no_other(looking, monitor, caplog):
    """The others go on; the trouble is logged when it begins, and when it is over."""

    class Broken(Rule):
        @property
        def interval(self):
            return 1.0

    looking.rules(Broken(name="broken", operation="*"), rule(statistic="max", above=0.5))
    record(monitor, 1.0)
    looking.look(times=3)
    assert looking.active == {("r", "op"): "firing"}
    assert [r.getMessage() for r in caplog.records] == ["alert rule 'broken' cannot be evaluated"]
