"""Tests of what statistic rules find on a real monitor, with a fake clock."""

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
def test_statistics_of_a_window(harness, monitor, statistic, value):
    """Each statistic covers only the samples in the window; durations are within 0.55 %."""
    record(monitor, 99.0)  # recorded before the rule was added, so it is not in the window
    harness.set_rules(rule(statistic=statistic, above=0))
    record(monitor, *(number / 1000 for number in range(1, 101)))
    harness.tick(2.0)
    [alert] = harness.engine.active()
    assert alert.value == pytest.approx(value, rel=0.0056)


def test_error_rate_ignores_cancelled_samples(harness, monitor):
    """The error rate is the share of failures among the samples that were not cancelled."""

    async def cancelled():
        async with monitor.track_operation("op"):
            raise asyncio.CancelledError

    harness.set_rules(rule(statistic="error_rate", above=0.2))
    record(monitor, 0.1, 0.1, 0.1)
    record(monitor, 0.1, success=False)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(cancelled())
    harness.tick()
    [alert] = harness.engine.active()
    assert alert.value == 0.25


@pytest.mark.parametrize("cancellations", [1, 4])
def test_calls_that_a_time_out_cancels_are_seen(harness, monitor, cancellations):
    """``cancelled_rate`` is the share of cancelled samples, even if all samples were cancelled."""

    async def call(*, is_stuck):
        async with monitor.track_operation("op"):
            if is_stuck:
                await asyncio.Event().wait()

    async def calls():
        for number in range(4):
            is_stuck = number < cancellations
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(call(is_stuck=is_stuck), 0.001 if is_stuck else None)

    harness.set_rules(rule(statistic="cancelled_rate", above=0.2, min_count=4))
    asyncio.run(calls())
    harness.tick()
    [alert] = harness.engine.active()
    assert alert.value == cancellations / 4
    assert alert.summary.startswith(f"op: cancelled_rate {25 * cancellations} % of the last")
    stats = monitor.get_stats("op")
    assert (stats.success_rate, stats.cancelled_rate) == (1.0, cancellations / 4)


def test_in_flight_counts_open_spans(harness, monitor):
    """``in_flight`` counts all spans open at the evaluation, however old they are."""
    harness.set_rules(rule(statistic="in_flight", above=1))
    with monitor.track_operation("op"), monitor.track_operation("op"):
        harness.tick()
        assert [alert.value for alert in harness.engine.active()] == [2.0]
    harness.tick()
    assert harness.states == [("r", "op", "firing"), ("r", "op", "resolved")]


def test_samples_leave_the_window(harness, monitor):
    """Samples stop counting once they are older than 13/12 of the window."""
    harness.set_rules(rule(statistic="max", above=0.5))
    record(monitor, 1.0)
    harness.tick()
    assert harness.active == {("r", "op"): "firing"}
    for _ in range(9):
        record(monitor, 0.1)
        harness.tick()
    assert harness.active == {("r", "op"): "firing"}
    record(monitor, 0.1)
    harness.tick(times=2)
    assert harness.active == {}


def test_a_window_keeps_few_snapshots(harness, monitor):
    """A window keeps at most 14 snapshots, however many times it is evaluated."""
    harness.set_rules(rule(statistic="p95", above=1, window=60))
    for _ in range(2000):
        record(monitor, 0.1)
        harness.tick(0.1)
    [ring] = harness.engine._evaluator._windows._rings.values()
    assert len(ring.entries) <= 14


def test_an_operation_seen_later_counts_from_its_first_sample(harness, monitor):
    """For an operation first seen after the rule was added, all samples count."""
    harness.set_rules(rule(operation="*", statistic="max", above=0.5))
    harness.tick()
    record(monitor, 1.0, operation="new")
    harness.tick()
    assert harness.active == {("r", "new"): "firing"}


def test_a_cleared_operation_starts_over(harness, monitor):
    """After clearing within a window, earlier samples no longer count and later ones do."""
    harness.set_rules(rule(statistic="max", above=0.5))
    record(monitor, 1.0, 1.0, 1.0)
    harness.tick()
    monitor.clear_metrics("op")
    record(monitor, 0.1)
    harness.tick()
    assert harness.states[-1] == ("r", "op", "resolved")
    record(monitor, 2.0)
    harness.tick()
    assert harness.active == {("r", "op"): "firing"}


def test_setting_the_clock_does_not_affect_windows(harness, monitor):
    """A change of the system clock is not mistaken for clearing an operation."""
    record(monitor, *[9.0] * 1000)  # recorded before the rule was added, so not in the window
    harness.set_rules(rule(statistic="rate", above=50), rule(name="max", statistic="max", above=5))
    for step in (0.002, -3600.0, 7200.0):
        harness.shift_clock(step)
        record(monitor, 0.1)
        harness.tick()
    assert harness.states == []


@pytest.mark.parametrize(
    ("fields", "after"),
    [({"statistic": "absent"}, 0), ({"statistic": "rate", "below": 2}, 10)],
)
def test_clearing_is_not_mistaken_for_a_lack_of_samples(harness, monitor, fields, after):
    """Clearing an operation does not at once trigger ``absent`` or a lower limit on its rate."""
    harness.set_rules(rule(**fields))
    for _ in range(12):
        record(monitor, *[0.1] * 10)
        harness.tick()
    monitor.clear_metrics()
    record(monitor, *[0.1] * after)
    harness.tick()
    assert harness.states == []


def test_absence_after_clearing_is_found_after_a_whole_window(harness, monitor):
    """A cleared operation is reported absent only after another whole window without samples."""
    harness.set_rules(rule(statistic="absent"))
    record(monitor, 0.1)
    harness.tick(times=3)
    monitor.clear_metrics()
    harness.tick(times=9)
    assert harness.states == []
    harness.tick(times=2)
    assert harness.active == {("r", "op"): "firing"}


def test_each_operation_of_a_pattern_has_its_own_alert(harness, monitor):
    """A rule with a pattern evaluates each matching operation separately."""
    harness.set_rules(rule(operation="m*", statistic="p50", above=0.5))
    record(monitor, 1.0, operation="m1")
    record(monitor, 0.1, operation="m2")
    record(monitor, 1.0, operation="other")
    harness.tick()
    assert harness.active == {("r", "m1"): "firing"}


def test_too_few_samples_are_not_judged(harness, monitor):
    """Below ``min_count``, no alert fires or resolves; with no samples at all, it resolves."""
    harness.set_rules(rule(statistic="p99", above=0.5, min_count=3, window=3))
    record(monitor, 1.0, 1.0)
    harness.tick()
    assert harness.active == {}
    record(monitor, 1.0)
    harness.tick()
    assert harness.active == {("r", "op"): "firing"}
    harness.tick(3.0)
    record(monitor, 0.1)
    harness.tick(3.0)
    assert harness.states == [("r", "op", "firing"), ("r", "op", "resolved")]


def test_absent_needs_a_whole_window_without_samples(harness, monitor):
    """``absent`` fires after a whole window without samples and resolves at the next sample."""
    harness.set_rules(rule(statistic="absent"))
    harness.tick(9.9)
    assert harness.active == {}
    harness.tick(0.1)
    assert harness.active == {("r", "op"): "firing"}
    record(monitor, 0.1)
    harness.tick()
    assert harness.active == {}
    harness.tick(times=11)
    assert harness.active == {("r", "op"): "firing"}


def test_absent_of_a_pattern(harness, monitor):
    """``absent`` fires for a pattern that matches nothing, then for each operation that stops."""
    harness.set_rules(rule(operation="m*", statistic="absent"))
    harness.tick(10)
    assert harness.active == {("r", "m*"): "firing"}
    record(monitor, 0.1, operation="m1")
    harness.tick()
    assert harness.active == {}
    harness.tick(times=12)
    assert harness.active == {("r", "m1"): "firing"}


def test_a_rate_below_its_limit_fires(harness, monitor):
    """A rule with ``below`` fires if an operation's rate is too low."""
    harness.set_rules(rule(statistic="rate", below=2, window=4))
    for _ in range(5):
        record(monitor, 0.1, 0.1, 0.1)
        harness.tick()
    assert harness.active == {}
    harness.tick(times=3)
    assert harness.active == {("r", "op"): "firing"}


def test_the_first_evaluation_finds_nothing(harness, monitor):
    """The first evaluation fires no alert; samples from before the rule was added do not count."""
    record(monitor, 9.0, 9.0)
    harness.set_rules(rule(statistic="max", above=0.5), rule(name="s", statistic="rate", below=9))
    assert harness.active == {}


def test_an_exception_in_a_rule_is_logged_once_and_does_not_stop_others(harness, monitor, caplog):
    """If evaluating a rule keeps raising, that is logged once; other rules are evaluated."""

    class Broken(Rule):
        @property
        def interval(self):
            return 1.0

    harness.set_rules(Broken(name="broken", operation="*"), rule(statistic="max", above=0.5))
    record(monitor, 1.0)
    harness.tick(times=3)
    assert harness.active == {("r", "op"): "firing"}
    assert [r.getMessage() for r in caplog.records] == ["alert rule 'broken' cannot be evaluated"]
