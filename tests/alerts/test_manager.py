"""Tests for ``monitor.alerts``: adding, loading, silencing and closing."""

import datetime as dt

import pytest
from alerting import make_alert, wait_until
from interruption import AmidEveryLine

from nanospan import PerformanceMonitor
from nanospan.alerts import AlertsFileError, JsonLinesSink, LogSink, Sink, StatisticRule


def rule(name="r", **fields):
    return StatisticRule(
        **{"name": name, "operation": "op", "statistic": "p95", "above": 0.1, **fields}
    )


@pytest.fixture
def alerts(monitor):
    """The alerts of a monitor, closed after the test."""
    yield monitor.alerts
    monitor.alerts.close()


def test_a_monitor_has_its_own_alerts(monitor):
    """Each monitor has one ``alerts`` object; once it is closed, ``alerts`` is a new object."""
    alerts = monitor.alerts
    assert alerts is monitor.alerts
    assert alerts is not PerformanceMonitor().alerts
    alerts.close()
    alerts.close()
    assert alerts.closed
    with pytest.raises(RuntimeError, match="closed"):
        alerts.add(rule())
    with pytest.raises(RuntimeError, match="closed"):
        alerts.add_sink(print)
    assert monitor.alerts is not alerts


def test_rule_names_are_unique(alerts):
    """Adding a rule with an existing name raises unless ``replace`` is true."""
    alerts.add(rule())
    with pytest.raises(ValueError, match="there is already a rule named 'r'"):
        alerts.add(rule(above=0.2))
    alerts.add(rule(above=0.2), replace=True)
    assert alerts.rules() == [rule(above=0.2)]
    alerts.remove("r")
    assert alerts.rules() == []
    with pytest.raises(KeyError):
        alerts.remove("r")
    with pytest.raises(TypeError, match=r"rule must be a StatisticRule.*got dict"):
        alerts.add({"name": "r"})


def test_loading_a_file_again_replaces_what_it_added(alerts, tmp_path):
    """Loading a file again replaces the rules, sinks and silences it added, and no others."""
    path = tmp_path / "alerts.toml"
    alerts.add(rule("by hand"))
    kept = alerts.add_sink(LogSink())
    text = """
[[rule]]
name = "{name}"
operation = "op"
statistic = "absent"
[[sink]]
type = "json_lines"
path = "{name}.jsonl"
[[silence]]
rule = "{name}"
until = 2100-01-01T00:00:00Z
"""
    for name in ("one", "two"):
        path.write_text(text.format(name=name))
        alerts.load(path)
        assert [rule.name for rule in alerts.rules()] == ["by hand", name]
        assert [silence.rule for silence in alerts.silences()] == [name]
        sinks = [report.sink for report in alerts.deliveries()]
        assert sinks == [str(kept), str(JsonLinesSink(tmp_path / f"{name}.jsonl"))]


def test_a_file_with_errors_changes_nothing(alerts, tmp_path):
    """Loading a file with a mistake or a duplicate rule name changes no rules or sinks."""
    alerts.add(rule("taken"))
    path = tmp_path / "alerts.toml"
    for text in (
        "[[sink]]\ntype = 'log'\n[[rule]]\nname = 'new'\n",
        "[[sink]]\ntype = 'log'\n[[rule]]\nname = 'taken'\noperation = 'op'\nstatistic = 'absent'",
    ):
        path.write_text(text)
        with pytest.raises(AlertsFileError):
            alerts.load(path)
        assert alerts.rules() == [rule("taken")]
        assert [report.sink for report in alerts.deliveries()] == ["LogSink"]
        assert alerts._state.get().workers == ()


def test_silences_end(alerts):
    """A silence needs ``until`` or ``seconds``, and ends at that time or when it is removed."""
    silence = alerts.silence(seconds=60, rule="r", comment="deploying")
    assert alerts.silences() == [silence]
    alerts.unsilence(silence)
    alerts.unsilence(silence)
    assert alerts.silences() == []
    past = dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc)
    alerts.silence(until=past)
    assert alerts.silences() == []
    with pytest.raises(ValueError, match=r"exactly one of until and seconds .* got neither"):
        alerts.silence()
    with pytest.raises(ValueError, match=r"exactly one of until and seconds .* got both"):
        alerts.silence(until=past, seconds=3)
    with pytest.raises(ValueError, match="must be a finite number"):
        alerts.silence(seconds=float("inf"))
    with pytest.raises(ValueError, match="at least 0 seconds"):
        alerts.silence(seconds=-60)


def test_a_sink_can_be_added_and_removed_once(alerts):
    """Adding a registered sink raises, and so does removing an unregistered sink."""
    sink = alerts.add_sink(LogSink())
    with pytest.raises(ValueError, match="is already registered"):
        alerts.add_sink(sink)
    alerts.remove_sink(sink)
    with pytest.raises(ValueError, match="is not registered"):
        alerts.remove_sink(sink)
    with pytest.raises(TypeError, match="callable"):
        alerts.add_sink("log")


def test_removing_a_sink_ends_its_thread_whatever_the_removal_interrupts(alerts):
    """A sink that was added by a handler amid its removal is ended, too, if it is removed."""
    sink = LogSink()
    workers = []

    def add_again():
        if registered():
            alerts.remove_sink(sink)
        alerts.add_sink(sink)
        workers.extend(registered())

    def registered():
        return alerts._state.get().workers

    amid = AmidEveryLine(add_again, "alerts")
    while amid.was_amid:
        alerts.add_sink(sink)
        workers.extend(registered())
        with amid:
            alerts.remove_sink(sink)
        if registered():
            alerts.remove_sink(sink)
    for worker in workers:
        worker.put(make_alert())
    assert [worker.report().lost for worker in workers] == [1] * len(workers)


class StateSink(Sink):
    """A sink that collects the alerts it receives, including those firing when it is added."""

    wants_current_alerts = True

    def __init__(self):
        super().__init__()
        self.received = []

    def deliver(self, alert, _pause):
        self.received.append((alert.rule, alert.state))


def test_a_new_sink_gets_current_alerts_only_if_it_wants_them(alerts, monitor):
    """A new sink receives already firing alerts only if it sets ``wants_current_alerts``."""
    alerts.add(rule("busy", statistic="in_flight", above=0, window=0.1))
    first, other, second = StateSink(), [], StateSink()
    alerts.add_sink(first)
    with monitor.track_operation("op"):
        wait_until(lambda: first.received == [("busy", "firing")])
        alerts.remove_sink(first)
        alerts.add_sink(lambda alert: other.append(alert.state))
        alerts.add_sink(second)
        wait_until(lambda: second.received == [("busy", "firing")])
    wait_until(lambda: second.received[-1] == ("busy", "resolved"))
    wait_until(lambda: other == ["resolved"])
    third = StateSink()
    alerts.add_sink(third)
    assert alerts.flush()
    assert third.received == []


def test_repr_shows_counts_of_rules_and_active_alerts(alerts):
    """``repr`` shows the number of rules, and the number of active alerts or "closed"."""
    assert repr(alerts) == "<Alerts of 0 rules, 0 active>"
    alerts.close()
    assert repr(alerts) == "<Alerts of 0 rules, closed>"
