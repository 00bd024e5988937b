"""`monitor.alerts`: adding, loading, silencing and closing."""

import datetime as dt

import pytest
from alerting import wait_until

from nanospan import PerformanceMonitor
from nanospan.alerts import AlertsFileError, JsonLinesSink, LogSink, Sink, StatisticRule


def rule(name="r", **fields):
    return StatisticRule(
        **{"name": name, "operation": "op", "statistic": "p95", "above": 0.1, **fields}
    )


@pytest.fixture
def alerts(monitor):
    """A monitor's alerts, closed in the end."""
    yield monitor.alerts
    monitor.alerts.close()


def test_a_monitor_has_its_own_alerts(monitor):
    """The same ones each time, and new ones after they were closed."""
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


def test_names_are_unique(alerts):
    """A second rule of a name is refused unless it is to replace the first."""
    alerts.add(rule())
    with pytest.raises(ValueError, match="there is a rule 'r'"):
        alerts.add(rule(above=0.2))
    alerts.add(rule(above=0.2), replace=True)
    assert alerts.rules() == [rule(above=0.2)]
    alerts.remove("r")
    assert alerts.rules() == []
    with pytest.raises(KeyError):
        alerts.remove("r")
    with pytest.raises(TypeError, match="a rule is a StatisticRule"):
        alerts.add({"name": "r"})


def test_loading_again_replaces_what_the_file_brought(alerts, tmp_path):
    """Rules, sinks and silences of the file; what came otherwise stays."""
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


def test_a_broken_file_changes_nothing(alerts, tmp_path):
    """Neither a mistake in it nor a name that is taken leaves half of it behind."""
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
        assert alerts._sinks == ()


def test_silences_end(alerts):
    """By time, or before it by hand; a silence needs one end."""
    silence = alerts.silence(seconds=60, rule="r", comment="deploying")
    assert alerts.silences() == [silence]
    alerts.unsilence(silence)
    alerts.unsilence(silence)
    assert alerts.silences() == []
    past = dt.datetime(2000, 1, 1, tzinfo=dt.timezone.utc)
    alerts.silence(until=past)
    assert alerts.silences() == []
    with pytest.raises(ValueError, match="one of until and seconds"):
        alerts.silence()
    with pytest.raises(ValueError, match="one of until and seconds"):
        alerts.silence(until=past, seconds=3)
    with pytest.raises(ValueError, match="must be a finite number"):
        alerts.silence(seconds=float("inf"))
    with pytest.raises(ValueError, match="at least 0 seconds"):
        alerts.silence(seconds=-60)


def test_a_sink_is_added_once(alerts):
    """Adding it again is an error, removing it ends it."""
    sink = alerts.add_sink(LogSink())
    with pytest.raises(ValueError, match="added before"):
        alerts.add_sink(sink)
    alerts.remove_sink(sink)
    with pytest.raises(ValueError, match="no sink of these alerts"):
        alerts.remove_sink(sink)
    with pytest.raises(TypeError, match="callable"):
        alerts.add_sink("log")


class StateSink(Sink):
    """Keeps what it is told."""

    wants_standing = True

    def __init__(self):
        super().__init__()
        self.told = []

    def deliver(self, alert, _pause):
        self.told.append((alert.rule, alert.state))


def test_a_sink_that_keeps_a_state_is_told_of_what_fires_already(alerts, monitor):
    """So a file that is loaded again ends nothing elsewhere; others hear of changes only."""
    alerts.add(rule("busy", statistic="in_flight", above=0, window=0.1))
    first, other, second = StateSink(), [], StateSink()
    alerts.add_sink(first)
    with monitor.track_operation("op"):
        wait_until(lambda: first.told == [("busy", "firing")])
        alerts.remove_sink(first)
        alerts.add_sink(lambda alert: other.append(alert.state))
        alerts.add_sink(second)
        wait_until(lambda: second.told == [("busy", "firing")])
    wait_until(lambda: second.told[-1] == ("busy", "resolved"))
    wait_until(lambda: other == ["resolved"])
    third = StateSink()
    alerts.add_sink(third)
    assert alerts.flush()
    assert third.told == []


def test_repr_says_how_it_stands(alerts):
    """Rules, and what is active."""
    assert repr(alerts) == "<Alerts of 0 rules, 0 active>"
    alerts.close()
    assert repr(alerts) == "<Alerts of 0 rules, closed>"
