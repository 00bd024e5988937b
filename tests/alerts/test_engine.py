"""Tests for the alert engine: states over time, silences, and the evaluation thread."""

import dataclasses
import gc
import threading
import weakref

import pytest
from alerting import wait_until

from nanospan import PerformanceMonitor
from nanospan.alerts import Alerts, Silence, StatisticRule
from nanospan.alerts.engine import Engine

SLOW = StatisticRule(
    name="slow",
    operation="op",
    statistic="max",
    above=0.5,
    window=10,
    for_seconds=2,
    labels={"team": "memory"},
)


def test_an_alert_has_times_value_and_labels(harness, monitor):
    """Each published alert has the times, value, limit and labels for its state."""
    harness.set_rules(SLOW)
    monitor.record_metric("op", 1.0)
    harness.tick(times=3)
    harness.tick(10)
    pending, firing, resolved = harness.published
    assert [a.state for a in harness.published] == ["pending", "firing", "resolved"]
    assert (pending.since, pending.fired_at) == (harness.wall - 12, None)
    assert (firing.since, firing.fired_at) == (harness.wall - 10, harness.wall - 10)
    assert (resolved.since, resolved.fired_at) == (harness.wall, harness.wall - 10)
    assert firing.value == pytest.approx(1.0, rel=0.0056)
    assert (firing.limit, firing.window, firing.statistic) == (0.5, 10, "max")
    assert firing.labels == {"team": "memory"}
    assert resolved.summary == firing.summary
    assert firing.to_dict()["labels"] == {"team": "memory"}


def test_each_change_is_announced_once(harness, monitor):
    """A change of state is announced once, however many samples exceed the limit."""
    harness.set_rules(SLOW)
    for _ in range(50):
        for _ in range(100):
            monitor.record_metric("op", 1.0)
        harness.tick()
    assert [alert.state for alert in harness.announced] == ["pending", "firing"]


def test_a_silence_delays_announcements_until_its_end(harness, monitor):
    """A silenced alert is published as such, and announced once the silence has ended."""
    harness.set_rules(SLOW)
    harness.silences = (Silence(until=harness.wall + 5, rule="sl*", operation="o?"),)
    for _ in range(4):
        monitor.record_metric("op", 1.0)
        harness.tick()
    assert [a.state for a in harness.published] == ["pending", "firing"]
    assert all(alert.silenced for alert in harness.published)
    assert harness.announced == []
    harness.tick(times=2)
    assert [(a.state, a.silenced) for a in harness.announced] == [("firing", False)]


@pytest.mark.parametrize(
    ("match", "covers"),
    [
        ({}, True),
        ({"rule": "slow", "operation": "op", "labels": {"team": "m*"}}, True),
        ({"rule": "fast"}, False),
        ({"operation": "other"}, False),
        ({"labels": {"team": "search"}}, False),
        ({"labels": {"room": "?*"}}, False),
    ],
)
def test_silences_match_rule_operation_and_labels(match, covers):
    """A silence matches an alert only if all its patterns match and it has not expired."""
    silence = Silence(until=100.0, **match)
    assert silence.covers(SLOW, "op", 99.9) is covers
    assert not silence.covers(SLOW, "op", 100.0)


def test_alerts_of_a_removed_rule_resolve(harness, monitor):
    """The alerts of a removed or changed rule resolve instead of firing for ever."""
    harness.set_rules(SLOW)
    monitor.record_metric("op", 1.0)
    harness.tick(times=3)
    harness.set_rules()
    assert harness.announced[-1].state == "resolved"
    assert harness.active == {}


def test_an_equal_rule_keeps_its_alerts(harness, monitor):
    """Setting equal rules again does not affect current alerts."""
    harness.set_rules(SLOW)
    monitor.record_metric("op", 1.0)
    harness.tick(times=3)
    harness.set_rules(dataclasses.replace(SLOW, labels={"team": "memory"}))
    assert [a.state for a in harness.announced] == ["pending", "firing"]


def test_alerts_that_are_over_use_no_memory(harness, monitor):
    """The engine keeps no state for operations whose alerts have resolved."""
    harness.set_rules(StatisticRule(name="r", operation="*", statistic="max", above=0.5, window=1))
    for number in range(500):
        monitor.record_metric(f"op{number}", 1.0)
    harness.tick()
    assert len(harness.active) == 500
    harness.tick(2.0, times=3)
    assert harness.engine._entries == {}


class UnprintableError(Exception):
    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize("error", [SystemExit("no snapshot"), UnprintableError()])
def test_the_thread_survives_observations_that_raise(caplog, error):
    """If taking a snapshot keeps raising, the thread logs it once and keeps evaluating."""
    calls = []

    class Observations:
        def check(self):
            pass

        def snapshot(self):
            calls.append(1)
            raise error

    rules = (StatisticRule(name="r", operation="op", statistic="absent", window=0.1),)
    engine = Engine(Observations(), lambda: (rules, ()), lambda *_: None)
    engine.start()
    wait_until(lambda: len(calls) >= 3)
    engine.stop(10)
    assert not engine.thread.is_alive()
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["alerts could not be evaluated"]


def test_no_thread_without_rules(monitor):
    """Creating alerts, sinks and silences starts no thread; a rule starts one."""
    before = set(threading.enumerate())
    alerts = monitor.alerts
    alerts.add_sink(print)
    alerts.silence(seconds=1)
    assert set(threading.enumerate()) == before
    alerts.add(SLOW)
    [thread] = set(threading.enumerate()) - before
    assert (thread.name, thread.daemon) == ("nanospan-alerts", True)
    alerts.close()
    assert set(threading.enumerate()) == before


def test_a_thread_that_cannot_start_is_started_later(monitor, monkeypatch):
    """If the thread cannot start, adding a rule raises; adding another rule tries again."""
    alerts = monitor.alerts

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            alerts.add(SLOW)
    alerts.add(StatisticRule(name="r", operation="op", statistic="absent", window=0.1))
    wait_until(alerts.active)
    alerts.close()


def test_a_watched_monitor_is_freed():
    """A monitor with rules can be freed, which ends the threads of its engine and sinks."""
    before = set(threading.enumerate())
    monitor = PerformanceMonitor()
    received = threading.Event()
    monitor.alerts.add_sink(lambda _: received.set())
    monitor.alerts.add(StatisticRule(name="r", operation="op", statistic="absent", window=0.1))
    assert received.wait(60)
    gone = weakref.ref(monitor)
    del monitor

    def freed():
        gc.collect()
        return gone() is None and set(threading.enumerate()) == before

    wait_until(freed)


def test_a_monitor_without_rules_is_freed():
    """The engine's thread ends with the monitor even after its last rule was removed."""
    before = set(threading.enumerate())
    monitor = PerformanceMonitor()
    alerts = monitor.alerts
    alerts.add(StatisticRule(name="r", operation="*", statistic="max", above=1))
    alerts.remove("r")
    del monitor
    alerts._state.get().engine.wake()
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_states_change_on_the_real_clock(monitor):
    """With the real thread and clock, an alert becomes pending, then firing, then resolved."""
    alerts: Alerts = monitor.alerts
    received = []
    alerts.add_sink(received.append)
    alerts.add(
        StatisticRule(name="busy", operation="op", statistic="in_flight", above=0, for_seconds=0.3)
    )
    with monitor.track_operation("op"):
        wait_until(lambda: [a.state for a in received] == ["firing"])
    wait_until(lambda: [a.state for a in received] == ["firing", "resolved"])
    assert [a.state for a in alerts.history()] == ["pending", "firing", "resolved"]
    alerts.close()
