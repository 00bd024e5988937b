"""The engine: states in the course of time, silences, and a thread that goes on."""

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


def test_an_alert_has_times_value_and_labels(looking, monitor):
    """What is told has all that a reader needs, at each change."""
    looking.rules(SLOW)
    monitor.record_metric("op", 1.0)
    looking.look(times=3)
    looking.look(10)
    pending, firing, resolved = looking.recorded
    assert [a.state for a in looking.recorded] == ["pending", "firing", "resolved"]
    assert (pending.since, pending.fired_at) == (looking.wall - 12, None)
    assert (firing.since, firing.fired_at) == (looking.wall - 10, looking.wall - 10)
    assert (resolved.since, resolved.fired_at) == (looking.wall, looking.wall - 10)
    assert firing.value == pytest.approx(1.0, rel=0.0056)
    assert (firing.limit, firing.window, firing.statistic) == (0.5, 10, "max")
    assert firing.labels == {"team": "memory"}
    assert resolved.summary == firing.summary
    assert firing.to_dict()["labels"] == {"team": "memory"}


def test_nothing_is_told_twice(looking, monitor):
    """However many samples are over the limit, there is one notice for each change."""
    looking.rules(SLOW)
    for _ in range(50):
        for _ in range(100):
            monitor.record_metric("op", 1.0)
        looking.look()
    assert [alert.state for alert in looking.told] == ["pending", "firing"]


def test_a_silence_keeps_it_from_the_sinks_until_its_end(looking, monitor):
    """The history has it, marked; the sinks hear of it once the silence is over."""
    looking.rules(SLOW)
    looking.engine.set_silences((Silence(until=looking.wall + 5, rule="sl*", operation="o?"),))
    for _ in range(4):
        monitor.record_metric("op", 1.0)
        looking.look()
    assert [a.state for a in looking.recorded] == ["pending", "firing"]
    assert all(alert.silenced for alert in looking.recorded)
    assert looking.told == []
    looking.look(times=2)
    assert [(a.state, a.silenced) for a in looking.told] == [("firing", False)]


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
    """All that is given has to match, until the end and no longer."""
    silence = Silence(until=100.0, **match)
    assert silence.covers(SLOW, "op", 99.9) is covers
    assert not silence.covers(SLOW, "op", 100.0)


def test_alerts_of_a_removed_rule_resolve(looking, monitor):
    """A rule that is gone, or is another one now, does not fire for ever."""
    looking.rules(SLOW)
    monitor.record_metric("op", 1.0)
    looking.look(times=3)
    looking.rules()
    assert looking.told[-1].state == "resolved"
    assert looking.active == {}


def test_an_equal_rule_keeps_its_alerts(looking, monitor):
    """Setting the same rules again changes nothing."""
    looking.rules(SLOW)
    monitor.record_metric("op", 1.0)
    looking.look(times=3)
    looking.rules(dataclasses.replace(SLOW, labels={"team": "memory"}))
    assert [a.state for a in looking.told] == ["pending", "firing"]


def test_alerts_that_are_over_take_no_memory(looking, monitor):
    """Of thousands of operations that were slow once, nothing is kept."""
    looking.rules(StatisticRule(name="r", operation="*", statistic="max", above=0.5, window=1))
    for number in range(500):
        monitor.record_metric(f"op{number}", 1.0)
    looking.look()
    assert len(looking.active) == 500
    looking.look(2.0, times=3)
    assert looking.engine._entries == {}


def test_the_thread_survives_observations_that_raise(caplog):
    """It logs the trouble once, goes on, and finds what there is afterwards."""
    looked = []

    class Observations:
        def snapshot(self):
            looked.append(1)
            raise SystemExit("no snapshot")

    engine = Engine(Observations(), lambda *_: None)
    engine.set_rules((StatisticRule(name="r", operation="op", statistic="absent", window=0.1),))
    engine.start()
    wait_until(lambda: len(looked) >= 3)
    engine.stop(10)
    assert not engine._thread.is_alive()
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["alerts could not be evaluated"]


def test_no_thread_without_rules(monitor):
    """Asking for alerts, sinks and silences starts nothing; a rule starts one thread."""
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


def test_a_thread_that_cannot_start_is_tried_again(monitor, monkeypatch):
    """Where there are no more threads, adding a rule says so, and adding another one begins."""
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
    """Rules do not keep a monitor alive; the engine's thread and the sinks' end with it."""
    before = set(threading.enumerate())
    monitor = PerformanceMonitor()
    told = threading.Event()
    monitor.alerts.add_sink(lambda _: told.set())
    monitor.alerts.add(StatisticRule(name="r", operation="op", statistic="absent", window=0.1))
    assert told.wait(60)
    gone = weakref.ref(monitor)
    del monitor

    def freed():
        gc.collect()
        return gone() is None and set(threading.enumerate()) == before

    wait_until(freed)


def test_states_change_on_the_real_clock(monitor):
    """With its own thread and clock an alert goes pending, firing and resolved."""
    alerts: Alerts = monitor.alerts
    told = []
    alerts.add_sink(told.append)
    alerts.add(
        StatisticRule(name="busy", operation="op", statistic="in_flight", above=0, for_seconds=0.3)
    )
    with monitor.track_operation("op"):
        wait_until(lambda: [a.state for a in told] == ["firing"])
    wait_until(lambda: [a.state for a in told] == ["firing", "resolved"])
    assert [a.state for a in alerts.history()] == ["pending", "firing", "resolved"]
    alerts.close()
